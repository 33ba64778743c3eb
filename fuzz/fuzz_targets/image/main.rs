//! Hostile images: whatever the bytes are, loading, checking, reading and writing them ends, in an error or not, and leaves a database
//! that is as consistent as it was.
#![no_main]

mod mutate;
mod seeds;
mod visit;

use std::num::NonZeroUsize;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use memory::{MemoryDatabase, MemoryOptions, Pin, SqlPool};

use crate::visit::Visit;

/// Small, so that commits reach it.
const MAX_SIZE: u64 = 256 << 10;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { mutate::image(data, size, max_size, seed) });

fuzz_target!(init: begin(), |image: &[u8]| {
    let Ok(database) = MemoryDatabase::load(image, options()) else { return };
    let loaded = database.pin();
    let file = bytes(&loaded);
    assert!(file[..18] == image[..18] && file[18..20] == [1, 1] && file[20..] == image[20..], "loading changed the file");
    let sound = database.check().is_ok();

    if let Some(visit) = Visit::new(&database) {
        visit.read();
        visit.write();
        visit.request();
    }
    assert!(!sound || database.check() == Ok(()), "a sound database became a damaged one");

    let written = bytes(&database.pin());
    let again = MemoryDatabase::load(written.as_slice(), options()).expect("what was written out is a database");
    assert!(bytes(&again.pin()) == written, "an image written out and loaded is another");
    assert!(bytes(&loaded) == file, "a pinned version changed");
});

fn begin() {
    seeds::write();
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // rusqlite panics at names that are not UTF-8, which only an image can hold. Its own callbacks catch that, or the thread of the
        // statement ends, which the engine answers as an internal error.
        if !panic.location().is_some_and(|place| place.file().contains("/rusqlite-")) {
            abort(panic);
        }
    }));
}

fn options() -> MemoryOptions {
    let threads = SqlPool::new(NonZeroUsize::MIN);
    MemoryOptions { max_size: MAX_SIZE, ..MemoryOptions::new(threads) }
}

fn bytes(pin: &Pin) -> Vec<u8> {
    let mut bytes = Vec::new();
    pin.image().read_to_end(&mut bytes).expect("an image is read from memory");
    bytes
}
