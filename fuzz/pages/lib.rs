//! The page store alone, from the engine's own files: Miri and the schedule explorer need neither SQLite nor an S3 client, and Miri
//! could not run them.
#![allow(dead_code, reason = "the rest of the engine is not here to use it")]

#[path = "../../src/engine"]
mod engine {
    pub(crate) mod clock;
    mod pages;
}

// The engine's files name one another from its root.
use engine::clock;
