//! Whether there is an order of all operations that explains every answer and contradicts no clock: strict serialisability, by the data.
//!
//! The log says in which order transfers were done, and each answer of which state it tells. So there is one order to look at, with reads of
//! the same state in any order among themselves, and it is enough to go through it once. `check/oracle.rs` looks for an order without this
//! knowledge, and comes to the same verdicts.
//! Owns: the verdict. Does not own: what is asked of whom, and when.

mod oracle;
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::operation::{Asked, Operation, Outcome, Seen};

/// Why there is no such order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Anomaly<'a> {
    /// It was answered, and another transfer or none is in the place that it was told of.
    Lost {
        transfer: &'a Operation,
        instead: Option<u64>,
    },
    /// The log has a transfer that nobody asked for.
    NobodyAsked {
        id: u64,
        version: u64,
    },
    DoneThoughFailed {
        transfer: &'a Operation,
        version: u64,
    },
    DoneTwice {
        transfer: &'a Operation,
        versions: [u64; 2],
    },
    /// It tells of a state that never was. Where the log ends before this version, there is none to compare with.
    NeverSo {
        operation: &'a Operation,
        was: Option<Seen>,
    },
    /// By what they tell, `before` comes before `after`. But that one had ended when this one was sent.
    Backwards {
        before: &'a Operation,
        after: &'a Operation,
    },
}

/// Looks at everything that was asked of one database in the mode `sync`. `log` is what it had in the end, when nobody asked any more.
///
/// A plain read may tell of an old state, but of one that was, and of none that is older than what the same process told of before.
pub(super) fn check<'a>(operations: &'a [Operation], log: &[u64]) -> Result<(), Anomaly<'a>> {
    nothing_is_lost(operations, log)?;
    let states = states(operations, log)?;
    for operation in operations {
        if let Some(seen) = operation.seen() {
            let was = states.get(usize::try_from(seen.version).expect("a log fits memory"));
            if was != Some(seen) {
                return Err(Anomaly::NeverSo { operation, was: was.cloned() });
            }
        }
    }
    let versions: HashMap<u64, u64> = (1..).zip(log).map(|(version, id)| (*id, version)).collect();
    let placed: Vec<Placed<'_>> = operations.iter().filter_map(|operation| Placed::by(operation, &versions)).collect();
    in_order(placed.iter().copied(), |operation| operation.asked != Asked::PlainRead)?;
    let mut by_process = BTreeMap::<usize, Vec<Placed<'_>>>::new();
    for placed in placed {
        by_process.entry(placed.operation.process).or_default().push(placed);
    }
    by_process.into_values().try_for_each(|placed| in_order(placed, |_| true))
}

/// Each transfer that was answered is where its answer says.
fn nothing_is_lost<'a>(operations: &'a [Operation], log: &[u64]) -> Result<(), Anomaly<'a>> {
    for operation in operations {
        let Some((transfer, seen)) = operation.transfer().zip(operation.seen()) else { continue };
        let line = usize::try_from(seen.version).expect("a log fits memory").checked_sub(1);
        let found = line.and_then(|line| log.get(line)).copied();
        if found != Some(transfer.id) {
            return Err(Anomaly::Lost { transfer: operation, instead: found });
        }
    }
    Ok(())
}

/// The state of each version, by doing what the log says.
fn states<'a>(operations: &'a [Operation], log: &[u64]) -> Result<Vec<Seen>, Anomaly<'a>> {
    let asked: HashMap<u64, &Operation> = operations.iter().filter_map(|operation| Some((operation.transfer()?.id, operation))).collect();
    let mut done = HashMap::new();
    let mut states = vec![Seen::at_first()];
    for (version, id) in (1..).zip(log) {
        let Some(operation) = asked.get(id).copied() else { return Err(Anomaly::NobodyAsked { id: *id, version }) };
        if matches!(operation.outcome, Outcome::Failed(_)) {
            return Err(Anomaly::DoneThoughFailed { transfer: operation, version });
        }
        if let Some(first) = done.insert(id, version) {
            return Err(Anomaly::DoneTwice { transfer: operation, versions: [first, version] });
        }
        let last = states.last().expect("there is a first one");
        states.push(last.after(operation.transfer().expect("only transfers are in the map")));
    }
    Ok(states)
}

/// An operation that is known to have had its effect, and where.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    /// A version, and whether its state was only read.
    position: (u64, bool),
    /// It had had its effect by then, if that is known.
    ended: Option<Duration>,
    operation: &'a Operation,
}

impl<'a> Placed<'a> {
    /// `None` for what had no effect and saw nothing.
    fn by(operation: &'a Operation, versions: &HashMap<u64, u64>) -> Option<Self> {
        let version = match operation.transfer() {
            Some(transfer) => *versions.get(&transfer.id)?,
            None => operation.seen()?.version,
        };
        let ended = operation.seen().map(|_| operation.ended);
        Some(Self { position: (version, operation.transfer().is_none()), ended, operation })
    }
}

/// Whether nothing had ended before something was sent that comes before it. An operation that does not bind may be older than others, but
/// not newer.
fn in_order<'a>(placed: impl IntoIterator<Item = Placed<'a>>, binds: impl Fn(&Operation) -> bool) -> Result<(), Anomaly<'a>> {
    let mut placed: Vec<_> = placed.into_iter().collect();
    placed.sort_by_key(|placed| placed.position);
    // Of all that come before, the one that was sent last.
    let mut before: Option<&'a Operation> = None;
    for same in placed.chunk_by(|one, other| one.position == other.position) {
        for &Placed { ended, operation: after, .. } in same {
            if let Some((before, ended)) = before.zip(ended)
                && ended < before.sent
            {
                return Err(Anomaly::Backwards { before, after });
            }
        }
        let binding = same.iter().map(|placed| placed.operation).filter(|operation| binds(operation));
        before = before.into_iter().chain(binding).max_by_key(|operation| operation.sent);
    }
    Ok(())
}

impl fmt::Display for Anomaly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { transfer, instead: Some(other) } => write!(f, "lost: {transfer}; transfer {other} is in its place"),
            Self::Lost { transfer, instead: None } => write!(f, "lost: {transfer}; the log ends before it"),
            Self::NobodyAsked { id, version } => write!(f, "nobody asked for transfer {id}, which made version {version}"),
            Self::DoneThoughFailed { transfer, version } => write!(f, "it failed, and yet it made version {version}: {transfer}"),
            Self::DoneTwice { transfer, versions: [first, second] } => {
                write!(f, "done twice, as version {first} and as version {second}: {transfer}")
            }
            Self::NeverSo { operation, was: Some(was) } => write!(f, "{operation} tells of a state that never was; it was {was}"),
            Self::NeverSo { operation, was: None } => write!(f, "{operation} tells of a state that is gone: the log ends before it"),
            Self::Backwards { before, after } => {
                write!(f, "what {before} tells of is from before {after}, which had ended when that was sent")
            }
        }
    }
}
