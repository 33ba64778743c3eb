//! The chain of a branch: which of its files make up a state, and which of them nobody needs any more. Pure.
//!
//! Owns: the levels and where their files lie, the plan of a restore, the choice of what retention takes. Does not own: what is in the files
//! (`ltx`), reading and deleting them, when they are made.
//! Invariants: a plan leads to the state that was asked for or there is none; what retention takes is needed by no state from the horizon on.
//!
//! ```text
//! listing ──▶ Files ──▶ Files::plan(Target) ──▶ Plan: a whole database, then what follows it
//!                  └──▶ Files::expired(…)   ──▶ the new horizon, and what may go
//! ```
//!
//! A file of a compaction may begin before the state that it is applied to: whatever it holds of that state is older than, or the same as, what
//! it holds of its own last one, and that it has of every page that changed.

mod file;
mod plan;
mod retention;
#[cfg(test)]
mod tests;

pub use file::{File, Files, Level, NotOfTheChain};
pub use plan::{Missing, Plan, Target};
pub use retention::{Expired, Keep};
