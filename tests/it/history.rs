//! What clients were told, and whether one order of all that they asked for explains it.

mod check;
mod operation;
