//! Hostile clients: whatever the bytes are, as a body or as frames of a socket, reading them ends, and what is refused is refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    messages::body(bytes);
    messages::frames(bytes);
});
