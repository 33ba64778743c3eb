//! Stands between SQLite and a [`super::File`]: writes down the calls of a thread, refuses some, and lets something happen before one.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use crate::vfs::{Lock, Refusal};

/// A call that has reached a file. Pages count from one, as in SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Call {
    Lock(Lock),
    Unlock(Lock),
    /// Offset and length.
    Read(u64, usize),
    Write(u64),
    /// To so many pages.
    Truncate(u64),
    Sync,
    Commit,
    /// Length, and whether there was such a page.
    Lend(u64, usize, bool),
    GiveBack,
}

impl Call {
    /// Whether it concerns locks or the writer, and not what is read.
    fn is_about_writing(self) -> bool {
        !matches!(self, Self::Read(..) | Self::Lend(..) | Self::GiveBack)
    }
}

#[derive(Default)]
struct State {
    calls: Option<Vec<Call>>,
    refusal: Option<Plan>,
    before: Option<(Call, Box<dyn FnOnce()>)>,
}

#[derive(Clone, Copy)]
struct Plan {
    what: Refused,
    with: Refusal,
    /// Calls that still pass.
    pass: usize,
    lasting: bool,
    happened: usize,
}

/// Which calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Write,
    Sync,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Writes down what this thread's connections ask of their files, until it is dropped.
pub(super) struct Recording(());

impl Recording {
    pub(super) fn start() -> Self {
        STATE.with_borrow_mut(|state| state.calls = Some(Vec::new()));
        Self(())
    }

    /// All calls since the last time.
    #[expect(clippy::unused_self, reason = "nothing is recorded without it")]
    pub(super) fn all(&self) -> Vec<Call> {
        STATE.with_borrow_mut(|state| state.calls.as_mut().map(std::mem::take)).unwrap_or_default()
    }

    /// The calls since the last time, without reads.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.all().into_iter().filter(|call| call.is_about_writing()).collect()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        STATE.with_borrow_mut(|state| state.calls = None);
    }
}

/// Refuses calls of this thread, until it is dropped.
pub(super) struct Refusing(());

impl Refusing {
    /// The `nth` one, counted from one.
    pub(super) fn nth(what: Refused, nth: usize, with: Refusal) -> Self {
        Self::plan(Plan { what, with, pass: nth - 1, lasting: false, happened: 0 })
    }

    /// The `nth` one and all after it.
    pub(super) fn from_nth(what: Refused, nth: usize, with: Refusal) -> Self {
        Self::plan(Plan { what, with, pass: nth - 1, lasting: true, happened: 0 })
    }

    fn plan(plan: Plan) -> Self {
        STATE.with_borrow_mut(|state| state.refusal = Some(plan));
        Self(())
    }

    /// How many calls have been refused.
    #[expect(clippy::unused_self, reason = "nothing is refused without it")]
    pub(super) fn happened(&self) -> usize {
        STATE.with_borrow(|state| state.refusal.map_or(0, |plan| plan.happened))
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        STATE.with_borrow_mut(|state| state.refusal = None);
    }
}

/// Does this once, just before the next such call on this thread.
pub(super) fn before(call: Call, what: impl FnOnce() + 'static) {
    STATE.with_borrow_mut(|state| state.before = Some((call, Box::new(what))));
}

fn tell(call: Call) {
    let due = STATE.with_borrow_mut(|state| {
        if let Some(calls) = &mut state.calls {
            calls.push(call);
        }
        state.before.take_if(|(awaited, _)| *awaited == call)
    });
    if let Some((_, what)) = due {
        what();
    }
}

fn judge(what: Refused) -> Result<(), Refusal> {
    STATE.with_borrow_mut(|state| match &mut state.refusal {
        Some(plan) if plan.what == what => {
            if plan.pass > 0 {
                plan.pass -= 1;
                return Ok(());
            }
            if plan.happened > 0 && !plan.lasting {
                return Ok(());
            }
            plan.happened += 1;
            Err(plan.with)
        }
        _ => Ok(()),
    })
}

/// A file as the C callbacks see it in tests.
pub(in super::super) struct File(crate::vfs::File);

pub(in super::super) fn open(file_name: &str) -> Option<File> {
    crate::vfs::open(file_name).map(File)
}

impl Deref for File {
    type Target = crate::vfs::File;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for File {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl File {
    fn page(&self, offset: u64) -> u64 {
        offset / u64::from(self.store.page_size().get()) + 1
    }

    pub(in super::super) fn read(&self, offset: u64, out: &mut [MaybeUninit<u8>]) -> Result<(), Refusal> {
        tell(Call::Read(offset, out.len()));
        self.0.read(offset, out)
    }

    pub(in super::super) fn write(&mut self, offset: u64, content: &[u8]) -> Result<(), Refusal> {
        tell(Call::Write(self.page(offset)));
        judge(Refused::Write)?;
        self.0.write(offset, content)
    }

    pub(in super::super) fn truncate(&mut self, size: u64) -> Result<(), Refusal> {
        tell(Call::Truncate(self.page(size) - 1));
        self.0.truncate(size)
    }

    pub(in super::super) fn sync(&self) -> Result<(), Refusal> {
        tell(Call::Sync);
        judge(Refused::Sync)?;
        self.0.sync()
    }

    pub(in super::super) fn commit(&mut self) {
        tell(Call::Commit);
        self.0.commit();
    }

    pub(in super::super) fn lock(&mut self, wanted: Lock) -> Result<(), Refusal> {
        tell(Call::Lock(wanted));
        self.0.lock(wanted)
    }

    pub(in super::super) fn unlock(&mut self, wanted: Lock) {
        tell(Call::Unlock(wanted));
        self.0.unlock(wanted);
    }

    pub(in super::super) fn lend(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        let page = self.page(offset);
        let lent = self.0.lend(offset, len);
        tell(Call::Lend(page, len, lent.is_some()));
        lent
    }

    pub(in super::super) fn give_back(&mut self) {
        tell(Call::GiveBack);
        self.0.give_back();
    }
}
