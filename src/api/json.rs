//! JSON that is written piece by piece, without a document in memory.

use std::time::Duration;

use base64::Engine;
use serde::Serialize;

/// What JSON has a form of its own for.
pub(crate) fn plain(out: &mut Vec<u8>, item: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, item).expect("a vector takes every byte, and our documents have names for keys");
}

/// A time in milliseconds, down to whole microseconds: what lies below is noise.
pub(crate) fn millis(out: &mut Vec<u8>, time: Duration) {
    // Divided, not multiplied: the nearest number to so many thousandths is written with three digits.
    plain(out, &(f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1e3));
}

/// An array.
pub(crate) fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// The characters of bytes, without quotes around them.
pub(crate) fn base64(out: &mut Vec<u8>, form: &impl Engine, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = form.encode_slice(bytes, &mut out[start..]).expect("four characters hold three bytes");
    out.truncate(start + written);
}
