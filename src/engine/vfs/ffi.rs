//! SQLite's C interface to `vfs.rs`: the only `unsafe` of the project.
//!
//! Each callback turns its pointers into Rust values, makes one call, and turns the answer into a result code. All of them go through
//! [`guard`], so that no panic unwinds into C.
//! Facts that every SAFETY comment here rests on, all promised by SQLite's documentation of `sqlite3_vfs` and `sqlite3_io_methods`:
//! a file is used by one thread at a time (connections are not shared between threads); between a successful `xOpen` and `xClose` the
//! memory of a file is ours alone; pointers passed to a callback are valid until it returns.
#![allow(unsafe_code, reason = "this is the one file that speaks to C")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{ptr, slice};

use libsqlite3_sys as sqlite;

#[cfg(test)]
use super::tests::probe::{File, open as open_file};
#[cfg(not(test))]
use super::{File, open as open_file};
use super::{Lock, Refusal, allows_pragma};
use crate::feed::{Feed, RowKind};
use crate::pages::Sees;

/// As SQLite knows this file system.
pub(super) const NAME: &CStr = c"buckethead";

/// What `last_insert_rowid()` tells on this connection until something is inserted there.
pub(super) fn set_last_insert_rowid(connection: &rusqlite::Connection, rowid: i64) {
    // SAFETY: the handle is that of an open connection, which its owner keeps open and out of other threads while we borrow it; and the
    // call changes one number of the connection.
    unsafe { sqlite::sqlite3_set_last_insert_rowid(connection.handle(), rowid) }
}

/// A control operation of our own: [`Sees`] as an integer. SQLite keeps those up to 100 for itself.
const SEE: c_int = 0x0062_6801;

/// Which version this connection pins from now on. An error is SQLite's result code.
pub(super) fn see(connection: &rusqlite::Connection, sees: Sees) -> Result<(), c_int> {
    let mut shown = c_int::from(sees == Sees::Shown);
    // SAFETY: the handle is that of an open connection, which its owner keeps open and out of other threads while we borrow it; SQLite passes
    // the operation to our `file_control` as it is, which reads the integer and keeps no pointer.
    let code = unsafe { sqlite::sqlite3_file_control(connection.handle(), c"main".as_ptr(), SEE, (&raw mut shown).cast()) };
    if code == sqlite::SQLITE_OK { Ok(()) } else { Err(code) }
}

unsafe extern "C" {
    /// As `sqlite3.h` declares it. The bindings have it only where they are made at build time; that SQLite has it is a flag of
    /// `.cargo/config.toml`.
    fn sqlite3_preupdate_hook(db: *mut sqlite::sqlite3, told: Option<PreUpdate>, context: *mut c_void) -> *mut c_void;
}

type PreUpdate = unsafe extern "C" fn(*mut c_void, *mut sqlite::sqlite3, c_int, *const c_char, *const c_char, i64, i64);

/// A control operation of our own: [`Record`].
const RECORD: c_int = 0x0062_6802;

struct Record {
    records: bool,
    /// Filled in by `file_control`.
    feed: *const Feed,
}

/// Whether the feed is told of each row that this connection touches from now on. An error is SQLite's result code.
pub(super) fn record(connection: &rusqlite::Connection, records: bool) -> Result<(), c_int> {
    let mut asked = Record { records, feed: ptr::null() };
    // SAFETY: the handle is that of an open connection, which its owner keeps open and out of other threads while we borrow it; SQLite passes
    // the operation to our `file_control` as it is, which fills the feed in and keeps no pointer.
    let code = unsafe { sqlite::sqlite3_file_control(connection.handle(), c"main".as_ptr(), RECORD, (&raw mut asked).cast()) };
    if code != sqlite::SQLITE_OK {
        return Err(code);
    }
    let told = if records { Some(touching as PreUpdate) } else { None };
    // SAFETY: the same handle; the connection's file holds the feed until it is closed, and SQLite tells of no row after that.
    unsafe { sqlite3_preupdate_hook(connection.handle(), told, asked.feed.cast_mut().cast()) };
    Ok(())
}

/// A statement is about to touch a row. For an UPDATE there are two row ids, before and after; what else is touched has the same twice.
unsafe extern "C" fn touching(
    feed: *mut c_void,
    _: *mut sqlite::sqlite3,
    operation: c_int,
    schema: *const c_char,
    table: *const c_char,
    before: i64,
    after: i64,
) {
    guard(|| {
        // SAFETY: `record` passed the feed of a file that is open as long as its connection, and the connection is at work.
        let feed = unsafe { &*feed.cast::<Feed>() };
        // SAFETY: SQLite passes terminated strings, which are there until we return.
        let (schema, table) = unsafe { (CStr::from_ptr(schema), CStr::from_ptr(table)) };
        if schema == c"main" {
            let table = table.to_string_lossy();
            match operation {
                sqlite::SQLITE_INSERT => feed.touch(&table, RowKind::Insert, after),
                sqlite::SQLITE_DELETE => feed.touch(&table, RowKind::Delete, before),
                _ if before == after => feed.touch(&table, RowKind::Update, after),
                _ => {
                    feed.touch(&table, RowKind::Delete, before);
                    feed.touch(&table, RowKind::Insert, after);
                }
            }
        }
        sqlite::SQLITE_OK
    });
}

/// What SQLite allocates for an open file; `base` comes first because SQLite sees only that.
#[repr(C)]
struct OpenFile {
    base: sqlite::sqlite3_file,
    file: *mut File,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "two pointers fit any integer")]
const OPEN_FILE_SIZE: c_int = size_of::<OpenFile>() as c_int;

/// Long enough for any id in decimal and the suffixes that SQLite appends.
const LONGEST_NAME: c_int = 64;

static METHODS: sqlite::sqlite3_io_methods = sqlite::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    // SQLite asks for shared memory only in WAL mode, which an in-memory file system never enters.
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

/// Makes the file system known to SQLite, not as its default.
pub(super) fn register() -> c_int {
    // SAFETY: initialises SQLite at the first call and may be called at any time.
    let host = unsafe { sqlite::sqlite3_vfs_find(ptr::null()) };
    if host.is_null() {
        return sqlite::SQLITE_ERROR;
    }
    // SQLite keeps the address for the life of the process.
    let vfs = Box::leak(Box::new(sqlite::sqlite3_vfs {
        iVersion: 2,
        szOsFile: OPEN_FILE_SIZE,
        mxPathname: LONGEST_NAME,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: host.cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: `vfs` is complete and never freed.
    unsafe { sqlite::sqlite3_vfs_register(vfs, 0) }
}

/// Runs a callback's Rust side. A panic there is a bug of ours; SQLite sees an I/O error, drops its cache and rolls back.
fn guard(call: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(sqlite::SQLITE_IOERR)
}

fn code(result: Result<(), Refusal>, misplaced: c_int) -> c_int {
    match result {
        Ok(()) => sqlite::SQLITE_OK,
        Err(Refusal::ShortRead) => sqlite::SQLITE_IOERR_SHORT_READ,
        Err(Refusal::Busy) => sqlite::SQLITE_BUSY,
        Err(Refusal::Stale) => sqlite::SQLITE_BUSY_SNAPSHOT,
        Err(Refusal::Full) => sqlite::SQLITE_FULL,
        Err(Refusal::OutOfMemory) => sqlite::SQLITE_IOERR_NOMEM,
        Err(Refusal::Misplaced) => misplaced,
    }
}

fn level(lock: c_int) -> Lock {
    match lock {
        sqlite::SQLITE_LOCK_NONE => Lock::None,
        sqlite::SQLITE_LOCK_SHARED => Lock::Shared,
        sqlite::SQLITE_LOCK_RESERVED => Lock::Reserved,
        sqlite::SQLITE_LOCK_PENDING => Lock::Pending,
        _ => Lock::Exclusive,
    }
}

/// Calls with the file and turns what it says into a code.
///
/// # Safety
/// `file` must be one that [`open`] has filled in and [`close`] has not emptied.
unsafe fn with_file(file: *mut sqlite::sqlite3_file, call: impl FnOnce(&mut File) -> c_int) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise; SQLite passes back the memory of `szOsFile` bytes that `open` filled in.
        let open = unsafe { &*file.cast::<OpenFile>() };
        // SAFETY: `open` made it from a box; no other thread uses this file now, and no callback calls another.
        let file = unsafe { &mut *open.file };
        call(file)
    })
}

unsafe extern "C" fn open(
    _: *mut sqlite::sqlite3_vfs,
    name: sqlite::sqlite3_filename,
    file: *mut sqlite::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    guard(|| {
        // SQLite calls `xClose` after a failed `xOpen` unless the methods are null.
        // SAFETY: SQLite lends us `szOsFile` bytes for the file.
        unsafe { (*file).pMethods = ptr::null() };
        // Journals and temporary files stay in SQLite's own memory; no name means a temporary file.
        if flags & sqlite::SQLITE_OPEN_MAIN_DB == 0 || name.is_null() {
            return sqlite::SQLITE_CANTOPEN;
        }
        // SAFETY: SQLite passes the name as a terminated string.
        let name = unsafe { CStr::from_ptr(name) };
        let Some(opened) = name.to_str().ok().and_then(open_file) else {
            return sqlite::SQLITE_CANTOPEN;
        };
        let filled = OpenFile { base: sqlite::sqlite3_file { pMethods: &raw const METHODS }, file: Box::into_raw(Box::new(opened)) };
        // SAFETY: as above; SQLite aligns the memory to 8 bytes.
        unsafe { file.cast::<OpenFile>().write(filled) };
        if !out_flags.is_null() {
            // `MEMORY` tells the pager to keep its journal in memory and never to look for a WAL.
            // SAFETY: not null, so SQLite wants the flags there.
            unsafe { *out_flags = flags | sqlite::SQLITE_OPEN_MEMORY };
        }
        sqlite::SQLITE_OK
    })
}

unsafe extern "C" fn close(file: *mut sqlite::sqlite3_file) -> c_int {
    guard(|| {
        // SAFETY: SQLite closes only what `open` has filled in.
        let file = unsafe { (*file.cast::<OpenFile>()).file };
        // SAFETY: `open` made it from a box, and SQLite closes a file once.
        drop(unsafe { Box::from_raw(file) });
        sqlite::SQLITE_OK
    })
}

unsafe extern "C" fn read(file: *mut sqlite::sqlite3_file, out: *mut c_void, len: c_int, offset: i64) -> c_int {
    let call = |file: &mut File| {
        let (Ok(len), Ok(offset)) = (usize::try_from(len), u64::try_from(offset)) else {
            return sqlite::SQLITE_IOERR_READ;
        };
        // SAFETY: SQLite lends us `len` writable bytes until we return. They may be uninitialised, hence `MaybeUninit`.
        let out = unsafe { slice::from_raw_parts_mut(out.cast::<MaybeUninit<u8>>(), len) };
        code(file.read(offset, out), sqlite::SQLITE_IOERR_READ)
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

unsafe extern "C" fn write(file: *mut sqlite::sqlite3_file, content: *const c_void, len: c_int, offset: i64) -> c_int {
    let call = |file: &mut File| {
        let (Ok(len), Ok(offset)) = (usize::try_from(len), u64::try_from(offset)) else {
            return sqlite::SQLITE_IOERR_WRITE;
        };
        // SAFETY: SQLite lends us `len` bytes until we return, and nobody writes them meanwhile.
        let content = unsafe { slice::from_raw_parts(content.cast::<u8>(), len) };
        code(file.write(offset, content), sqlite::SQLITE_IOERR_WRITE)
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

unsafe extern "C" fn truncate(file: *mut sqlite::sqlite3_file, size: i64) -> c_int {
    let call = |file: &mut File| match u64::try_from(size) {
        Ok(size) => code(file.truncate(size), sqlite::SQLITE_IOERR_TRUNCATE),
        Err(_) => sqlite::SQLITE_IOERR_TRUNCATE,
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

/// Nothing lies on a disk. What may refuse a commit does so in `SQLITE_FCNTL_SYNC`, which comes even with `synchronous=OFF`.
unsafe extern "C" fn sync(_: *mut sqlite::sqlite3_file, _: c_int) -> c_int {
    sqlite::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite::sqlite3_file, size: *mut i64) -> c_int {
    let call = |file: &mut File| {
        let Ok(bytes) = i64::try_from(file.size()) else { return sqlite::SQLITE_IOERR_FSTAT };
        // SAFETY: SQLite wants the size there.
        unsafe { *size = bytes };
        sqlite::SQLITE_OK
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

unsafe extern "C" fn lock(file: *mut sqlite::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, |file| code(file.lock(level(wanted)), sqlite::SQLITE_IOERR_LOCK)) }
}

unsafe extern "C" fn unlock(file: *mut sqlite::sqlite3_file, wanted: c_int) -> c_int {
    let call = |file: &mut File| {
        file.unlock(level(wanted));
        sqlite::SQLITE_OK
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite::sqlite3_file, reserved: *mut c_int) -> c_int {
    let call = |file: &mut File| {
        // SAFETY: SQLite wants the answer there.
        unsafe { *reserved = c_int::from(file.store.is_writing()) };
        sqlite::SQLITE_OK
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

unsafe extern "C" fn file_control(file: *mut sqlite::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    let call = |file: &mut File| match operation {
        sqlite::SQLITE_FCNTL_SYNC => code(file.sync(), sqlite::SQLITE_IOERR),
        sqlite::SQLITE_FCNTL_COMMIT_PHASETWO => {
            file.commit();
            sqlite::SQLITE_OK
        }
        SEE => {
            // SAFETY: `see` alone asks for this operation, with the address of an integer.
            let shown = unsafe { *argument.cast::<c_int>() };
            file.sees = if shown == 0 { Sees::Newest } else { Sees::Shown };
            sqlite::SQLITE_OK
        }
        RECORD => {
            // SAFETY: `record` alone asks for this operation, with the address of one of these, which nobody else has.
            let asked = unsafe { &mut *argument.cast::<Record>() };
            file.records = asked.records;
            asked.feed = Arc::as_ptr(&file.feed);
            sqlite::SQLITE_OK
        }
        sqlite::SQLITE_FCNTL_PRAGMA => {
            // SAFETY: for this operation SQLite passes an array of strings: room for an answer, the name, the argument or null.
            let words = unsafe { slice::from_raw_parts(argument.cast::<*const c_char>(), 3) };
            // SAFETY: the name is a terminated string.
            let name = unsafe { CStr::from_ptr(words[1]) };
            // Not found means that SQLite does what the PRAGMA says.
            if words[2].is_null() || allows_pragma(name) { sqlite::SQLITE_NOTFOUND } else { sqlite::SQLITE_AUTH }
        }
        _ => sqlite::SQLITE_NOTFOUND,
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

/// The smallest there is: a larger sector than a page would make SQLite write pages in groups.
unsafe extern "C" fn sector_size(_: *mut sqlite::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn device_characteristics(_: *mut sqlite::sqlite3_file) -> c_int {
    sqlite::SQLITE_IOCAP_POWERSAFE_OVERWRITE | sqlite::SQLITE_IOCAP_SAFE_APPEND | sqlite::SQLITE_IOCAP_SEQUENTIAL
}

unsafe extern "C" fn fetch(file: *mut sqlite::sqlite3_file, offset: i64, len: c_int, page: *mut *mut c_void) -> c_int {
    let call = |file: &mut File| {
        let lent = match (u64::try_from(offset), usize::try_from(len)) {
            (Ok(offset), Ok(len)) => file.lend(offset, len),
            _ => None,
        };
        // SQLite only reads what it fetches; the interface has no `const`.
        let start = lent.map_or(ptr::null_mut(), |bytes| bytes.as_ptr().cast_mut().cast());
        // SAFETY: SQLite wants the address there; null makes it read the page instead.
        unsafe { *page = start };
        sqlite::SQLITE_OK
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

/// A null page means that no mapping is valid any more; ours always are.
unsafe extern "C" fn unfetch(file: *mut sqlite::sqlite3_file, _: i64, page: *mut c_void) -> c_int {
    let call = |file: &mut File| {
        if !page.is_null() {
            file.give_back();
        }
        sqlite::SQLITE_OK
    };
    // SAFETY: SQLite calls the methods of open files only.
    unsafe { with_file(file, call) }
}

/// There is no file beside the databases, so none is left after a delete.
unsafe extern "C" fn delete(_: *mut sqlite::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    sqlite::SQLITE_OK
}

/// SQLite asks for hot journals here; there never is one.
unsafe extern "C" fn access(_: *mut sqlite::sqlite3_vfs, _: *const c_char, _: c_int, exists: *mut c_int) -> c_int {
    // SAFETY: SQLite wants the answer there.
    unsafe { *exists = 0 };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut sqlite::sqlite3_vfs, name: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes the name as a terminated string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| name.len() > room) {
        return sqlite::SQLITE_CANTOPEN;
    }
    // SAFETY: `out` has `room` bytes, no fewer than the name with its terminator, and is not the name itself.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
    sqlite::SQLITE_OK
}

/// Loads no extension.
unsafe extern "C" fn dl_open(_: *mut sqlite::sqlite3_vfs, _: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn dl_error(_: *mut sqlite::sqlite3_vfs, room: c_int, message: *mut c_char) {
    if room > 0 {
        // SAFETY: `message` has `room` bytes; an empty string needs one.
        unsafe { *message = 0 };
    }
}

/// The file system that SQLite would use by itself; it knows the time.
///
/// # Safety
/// `vfs` must be the one that [`register`] made.
unsafe fn host(vfs: *mut sqlite::sqlite3_vfs) -> *mut sqlite::sqlite3_vfs {
    // SAFETY: the caller's promise; it lives for ever.
    unsafe { (*vfs).pAppData.cast() }
}

unsafe extern "C" fn randomness(vfs: *mut sqlite::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes the VFS whose function it calls.
    let host = unsafe { host(vfs) };
    // SAFETY: the host's own function with its own VFS, and SQLite's arguments as they came.
    unsafe { (*host).xRandomness.map_or(0, |randomness| randomness(host, len, out)) }
}

unsafe extern "C" fn sleep(vfs: *mut sqlite::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: SQLite passes the VFS whose function it calls.
    let host = unsafe { host(vfs) };
    // SAFETY: the host's own function with its own VFS, and SQLite's arguments as they came.
    unsafe { (*host).xSleep.map_or(0, |sleep| sleep(host, microseconds)) }
}

unsafe extern "C" fn current_time(vfs: *mut sqlite::sqlite3_vfs, day: *mut f64) -> c_int {
    // SAFETY: SQLite passes the VFS whose function it calls.
    let host = unsafe { host(vfs) };
    // SAFETY: the host's own function with its own VFS, and SQLite's arguments as they came.
    unsafe { (*host).xCurrentTime.map_or(sqlite::SQLITE_ERROR, |time| time(host, day)) }
}

unsafe extern "C" fn current_time_int64(vfs: *mut sqlite::sqlite3_vfs, milliseconds: *mut i64) -> c_int {
    // SAFETY: SQLite passes the VFS whose function it calls.
    let host = unsafe { host(vfs) };
    // SAFETY: the host's own function with its own VFS, and SQLite's arguments as they came.
    unsafe { (*host).xCurrentTimeInt64.map_or(sqlite::SQLITE_ERROR, |time| time(host, milliseconds)) }
}

unsafe extern "C" fn get_last_error(_: *mut sqlite::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// SQLite's own memory, which tests can make scarce for the thread they run on.
#[cfg(test)]
pub(super) mod scarce {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::{c_int, c_void, ptr, sqlite};

    /// Which allocations fail.
    #[derive(Debug, Clone, Copy, Default)]
    pub(in super::super) struct Plan {
        /// The one with this number, counted from one; none if zero.
        pub(in super::super) nth: usize,
        /// And all after it.
        pub(in super::super) lasting: bool,
        /// How many were asked for since the plan was made.
        pub(in super::super) asked: usize,
    }

    thread_local! {
        static PLAN: Cell<Plan> = const { Cell::new(Plan { nth: 0, lasting: false, asked: 0 }) };
    }

    /// Replaces the plan of this thread, and returns the one before.
    pub(in super::super) fn replace(plan: Plan) -> Plan {
        PLAN.replace(plan)
    }

    fn is_refused() -> bool {
        let refused = PLAN.try_with(|cell| {
            let plan = Plan { asked: cell.get().asked + 1, ..cell.get() };
            cell.set(plan);
            plan.nth > 0 && (plan.asked == plan.nth || plan.lasting && plan.asked > plan.nth)
        });
        // A thread that ends has no plan any more.
        refused.unwrap_or(false)
    }

    type Malloc = unsafe extern "C" fn(c_int) -> *mut c_void;
    type Realloc = unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void;

    static ORIGINAL: OnceLock<(Malloc, Realloc)> = OnceLock::new();

    unsafe extern "C" fn malloc(size: c_int) -> *mut c_void {
        match ORIGINAL.get() {
            // SAFETY: SQLite's own function, with what SQLite passed.
            Some((malloc, _)) if !is_refused() => unsafe { malloc(size) },
            _ => ptr::null_mut(),
        }
    }

    unsafe extern "C" fn realloc(old: *mut c_void, size: c_int) -> *mut c_void {
        match ORIGINAL.get() {
            // SAFETY: SQLite's own function, with what SQLite passed.
            Some((_, realloc)) if !is_refused() => unsafe { realloc(old, size) },
            _ => ptr::null_mut(),
        }
    }

    /// Runs before `main`, because SQLite takes another allocator only before its first use.
    extern "C" fn install() {
        let mut methods = std::mem::MaybeUninit::<sqlite::sqlite3_mem_methods>::zeroed();
        // SAFETY: nothing of SQLite runs yet, and it fills in the structure that this option takes.
        let got = unsafe { sqlite::sqlite3_config(sqlite::SQLITE_CONFIG_GETMALLOC, methods.as_mut_ptr()) };
        // SAFETY: zeros are a valid value of it, and SQLite has filled it in.
        let mut methods = unsafe { methods.assume_init() };
        if let (sqlite::SQLITE_OK, Some(malloc), Some(realloc)) = (got, methods.xMalloc, methods.xRealloc) {
            ORIGINAL.get_or_init(|| (malloc, realloc));
            methods.xMalloc = Some(self::malloc);
            methods.xRealloc = Some(self::realloc);
            // SAFETY: as above; SQLite copies the structure.
            unsafe { sqlite::sqlite3_config(sqlite::SQLITE_CONFIG_MALLOC, &raw mut methods) };
        }
    }

    // SAFETY: an entry of this section is a function without arguments; the C library calls it before `main`.
    #[unsafe(link_section = ".init_array")]
    #[used]
    static INSTALL: extern "C" fn() = install;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_cross_into_c() {
        assert_eq!(guard(|| panic!("on purpose")), sqlite::SQLITE_IOERR);
    }
}
