//! What the engine can be made to do wrong, so that it is seen that the simulator notices. Tests only.
//!
//! The bucket tells, because whatever writes has one at hand and no two processes share theirs.

/// One way to lose data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// None.
    None,
    /// The store fills a slot that is taken.
    SlotsIgnored,
    /// The store replaces head records whatever the conditions say.
    HeadConditionsIgnored,
    /// Nobody knows their own writes again, so a refusal of an own earlier try looks like somebody else's write.
    PutIdsHidden,
    /// Whoever opens a branch leaves the next slot free.
    NoFence,
    /// Whoever opens a branch keeps the epoch of whoever had it before.
    EpochNotRaised,
    /// A delta is called durable before the store has it.
    ConfirmedBeforePut,
    /// An answer that should wait for the store does not.
    AnsweredBeforePut,
    /// Readers see what the store does not have yet, though what they see should be there.
    ShownBeforePut,
    /// Fences go with the files around them.
    FencesDeleted,
    /// Pages that were never written are left out of compactions.
    HolesLeftOut,
    /// Whoever opens a branch does not ask whether its holder may still answer.
    LeaseNotAwaited,
}
