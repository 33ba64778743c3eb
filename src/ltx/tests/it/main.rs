//! The package from outside: files of Go's library, files that Litestream reads and writes, files that are wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod corruption;
mod fixtures;
mod litestream;
mod pages;
mod raw;
mod refusals;
mod round_trip;
