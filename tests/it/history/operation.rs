//! What clients asked of one database and what they were told, as data.
//!
//! The database has accounts and a log of the transfers between them. A transfer moves an amount and adds the next line to the log. It is
//! answered as a read is: with the number of lines, which is the **version**, the newest of the lines, and all balances. So each answer says
//! of which state it tells, and the log says in which order transfers were done.

use std::fmt;
use std::time::Duration;

pub(super) const ACCOUNTS: usize = 4;
/// What each account has at first.
pub(super) const ENDOWMENT: i64 = 100;
/// So many lines of the log come with each answer.
pub(super) const NEWEST: usize = 4;

/// Something that a client asked for, and what came of it. Times are from when the history began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) client: usize,
    /// The process that was asked.
    pub(super) process: usize,
    pub(super) asked: Asked,
    /// Before anything of it left the client.
    pub(super) sent: Duration,
    /// After the client knew the outcome, or gave up.
    pub(super) ended: Duration,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Transfer(Transfer),
    /// With `?consistency=strong`.
    StrongRead,
    /// A process that lost its branch and does not know it yet answers it with an old state.
    PlainRead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transfer {
    /// Of this one alone.
    pub(super) id: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) amount: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok(Seen),
    /// It certainly had no effect, and never will.
    Failed(String),
    /// It may have had its effect, or may have it at any time from when it was sent on.
    Unknown(String),
}

/// The state of which an answer tells; that of a transfer is the one that it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// How many transfers were done.
    pub(super) version: u64,
    pub(super) balances: [i64; ACCOUNTS],
    /// The ids of the newest of them, the last one first.
    pub(super) newest: Vec<u64>,
}

impl Seen {
    /// What a database has before the first transfer.
    pub(super) fn at_first() -> Self {
        Self { version: 0, balances: [ENDOWMENT; ACCOUNTS], newest: Vec::new() }
    }

    /// The next state.
    pub(super) fn after(&self, transfer: Transfer) -> Self {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        next.balances[transfer.from] -= transfer.amount;
        next.balances[transfer.to] += transfer.amount;
        next.newest.insert(0, transfer.id);
        next.newest.truncate(NEWEST);
        next
    }
}

impl Operation {
    pub(super) fn transfer(&self) -> Option<Transfer> {
        if let Asked::Transfer(transfer) = self.asked { Some(transfer) } else { None }
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        if let Outcome::Ok(seen) = &self.outcome { Some(seen) } else { None }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asked {
            Asked::Transfer(Transfer { id, from, to, amount }) => write!(f, "[transfer {id} of {amount} from account {from} to {to}")?,
            Asked::StrongRead => write!(f, "[a strong read")?,
            Asked::PlainRead => write!(f, "[a plain read")?,
        }
        let (sent, ended) = (self.sent.as_secs_f64(), self.ended.as_secs_f64());
        write!(f, " by client {} of process {}, {sent:.6} s to {ended:.6} s: ", self.client, self.process)?;
        match &self.outcome {
            Outcome::Ok(seen) => write!(f, "{seen}]"),
            Outcome::Failed(why) => write!(f, "failed, {why}]"),
            Outcome::Unknown(why) => write!(f, "unknown, {why}]"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}, balances {:?}, newest {:?}", self.version, self.balances, self.newest)
    }
}
