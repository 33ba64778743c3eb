use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::super::operation::{ACCOUNTS, Asked, ENDOWMENT, Operation, Outcome, Seen, Transfer};
use super::oracle::has_order;
use super::{Anomaly, check};

fn transfer(id: u64) -> Transfer {
    let account = |id: u64| usize::try_from(id).unwrap() % ACCOUNTS;
    Transfer { id, from: account(id), to: account(id + 1), amount: i64::try_from(id).unwrap() }
}

/// The state after these transfers.
fn after(log: &[u64]) -> Seen {
    log.iter().fold(Seen::at_first(), |state, id| state.after(transfer(*id)))
}

fn operation(asked: Asked, [sent, ended]: [u64; 2], outcome: Outcome) -> Operation {
    let (sent, ended) = (Duration::from_secs(sent), Duration::from_secs(ended));
    Operation { client: 1, process: 1, asked, sent, ended, outcome }
}

/// A transfer that was answered: the last of these.
fn done(log: &[u64], times: [u64; 2]) -> Operation {
    operation(Asked::Transfer(transfer(*log.last().unwrap())), times, Outcome::Ok(after(log)))
}

fn unknown(id: u64, times: [u64; 2]) -> Operation {
    operation(Asked::Transfer(transfer(id)), times, Outcome::Unknown("no answer".to_owned()))
}

fn failed(id: u64, times: [u64; 2]) -> Operation {
    operation(Asked::Transfer(transfer(id)), times, Outcome::Failed("fenced".to_owned()))
}

/// A read that saw these transfers.
fn read(asked: Asked, log: &[u64], times: [u64; 2]) -> Operation {
    operation(asked, times, Outcome::Ok(after(log)))
}

fn strong(log: &[u64], times: [u64; 2]) -> Operation {
    read(Asked::StrongRead, log, times)
}

fn plain(log: &[u64], times: [u64; 2]) -> Operation {
    read(Asked::PlainRead, log, times)
}

/// The same of another process.
fn elsewhere(operation: Operation) -> Operation {
    Operation { process: 2, ..operation }
}

#[test]
fn what_can_be_explained_is_accepted() {
    let cases: [(&str, Vec<Operation>, &[u64]); 10] = [
        ("nothing", vec![], &[]),
        ("one after the other", vec![done(&[1], [0, 1]), strong(&[1], [2, 3]), done(&[1, 2], [4, 5])], &[1, 2]),
        ("at the same time, in either order", vec![done(&[2, 1], [0, 5]), done(&[2], [1, 4])], &[2, 1]),
        ("a read during a transfer sees it", vec![done(&[1], [0, 5]), strong(&[1], [1, 2])], &[1]),
        ("a read during a transfer does not see it", vec![done(&[1], [0, 5]), strong(&[], [1, 2])], &[1]),
        ("a failure without effect", vec![failed(1, [0, 1]), strong(&[], [2, 3])], &[]),
        ("unknown, and never done", vec![unknown(1, [0, 1]), strong(&[], [2, 3])], &[]),
        ("unknown, and done later", vec![unknown(1, [0, 1]), strong(&[], [2, 3]), strong(&[1], [4, 5])], &[1]),
        ("a plain read of another process is old", vec![done(&[1], [0, 1]), elsewhere(plain(&[], [2, 3]))], &[1]),
        (
            "more transfers than come with an answer",
            vec![
                done(&[1], [0, 9]),
                done(&[1, 2], [0, 9]),
                done(&[1, 2, 3], [0, 9]),
                done(&[1, 2, 3, 4], [0, 9]),
                done(&[1, 2, 3, 4, 5], [0, 9]),
                strong(&[1, 2, 3, 4, 5], [1, 2]),
            ],
            &[1, 2, 3, 4, 5],
        ),
    ];
    for (what, operations, log) in cases {
        assert_eq!(check(&operations, log), Ok(()), "{what}");
    }
}

#[test]
fn a_lost_transfer_is_named_with_what_stands_in_its_place() {
    let lost = done(&[1], [0, 1]);
    let operations = [lost.clone(), unknown(2, [2, 3])];
    let told = check(&operations, &[2]).unwrap_err();
    assert_eq!(told, Anomaly::Lost { transfer: &lost, instead: Some(2) });
    assert_eq!(
        told.to_string(),
        "lost: [transfer 1 of 1 from account 1 to 2 by client 1 of process 1, 0.000000 s to 1.000000 s: version 1, \
         balances [100, 99, 101, 100], newest [1]]; transfer 2 is in its place"
    );
    assert_eq!(check(&operations, &[]), Err(Anomaly::Lost { transfer: &lost, instead: None }));
}

#[test]
fn an_effect_of_what_failed_was_done_twice_or_was_never_asked_for_is_found() {
    let refused = [failed(1, [0, 1])];
    assert_eq!(check(&refused, &[1]), Err(Anomaly::DoneThoughFailed { transfer: &refused[0], version: 1 }));
    let twice = [done(&[1], [0, 1]), done(&[1, 2], [2, 3])];
    assert_eq!(check(&twice, &[1, 2, 1]), Err(Anomaly::DoneTwice { transfer: &twice[0], versions: [1, 3] }));
    assert_eq!(check(&twice, &[1, 2, 7]), Err(Anomaly::NobodyAsked { id: 7, version: 3 }));
}

#[test]
fn a_state_that_never_was_is_found_by_whatever_saw_it() {
    // A transfer of which nobody knows was seen, and is gone again: not even a plain read tells of what may be lost.
    let vanished = [unknown(1, [0, 1]), plain(&[1], [2, 3]), done(&[2], [4, 5])];
    assert_eq!(check(&vanished[..2], &[]), Err(Anomaly::NeverSo { operation: &vanished[1], was: None }));
    assert_eq!(check(&vanished, &[2]), Err(Anomaly::NeverSo { operation: &vanished[1], was: Some(after(&[2])) }));
    // Two reads do not agree about the order.
    let two_orders = [unknown(1, [0, 1]), unknown(2, [0, 1]), strong(&[1, 2], [0, 9]), strong(&[2, 1], [0, 9])];
    assert_eq!(check(&two_orders, &[1, 2]), Err(Anomaly::NeverSo { operation: &two_orders[3], was: Some(after(&[1, 2])) }));
    // Half of a transfer.
    let mut half = after(&[1]);
    half.balances[2] = ENDOWMENT;
    let torn = [done(&[1], [0, 1]), operation(Asked::StrongRead, [2, 3], Outcome::Ok(half))];
    assert_eq!(check(&torn, &[1]), Err(Anomaly::NeverSo { operation: &torn[1], was: Some(after(&[1])) }));
}

#[test]
fn an_order_against_time_is_found() {
    let stale = [done(&[1], [0, 1]), strong(&[], [2, 3])];
    let told = check(&stale, &[1]).unwrap_err();
    assert_eq!(told, Anomaly::Backwards { before: &stale[1], after: &stale[0] });
    assert_eq!(
        told.to_string(),
        "what [a strong read by client 1 of process 1, 2.000000 s to 3.000000 s: version 0, balances [100, 100, 100, 100], newest []] \
         tells of is from before [transfer 1 of 1 from account 1 to 2 by client 1 of process 1, 0.000000 s to 1.000000 s: version 1, \
         balances [100, 99, 101, 100], newest [1]], which had ended when that was sent"
    );
    // A transfer of which nobody knows is there, and then not.
    let vanishes = [unknown(1, [0, 1]), strong(&[1], [2, 3]), elsewhere(strong(&[], [4, 5]))];
    assert_eq!(check(&vanishes, &[1]), Err(Anomaly::Backwards { before: &vanishes[2], after: &vanishes[1] }));
    // Not even a plain read sees what was not asked for yet.
    let future = [plain(&[1], [0, 1]), unknown(1, [2, 3])];
    assert_eq!(check(&future, &[1]), Err(Anomaly::Backwards { before: &future[1], after: &future[0] }));
    let transfers = [done(&[2, 1], [0, 1]), done(&[2], [2, 3])];
    assert_eq!(check(&transfers, &[2, 1]), Err(Anomaly::Backwards { before: &transfers[1], after: &transfers[0] }));
}

#[test]
fn plain_reads_of_one_process_do_not_go_back() {
    let own = [done(&[1], [0, 1]), plain(&[], [2, 3])];
    assert_eq!(check(&own, &[1]), Err(Anomaly::Backwards { before: &own[1], after: &own[0] }));
    let reads = [unknown(1, [0, 1]), plain(&[1], [2, 3]), plain(&[], [4, 5])];
    assert_eq!(check(&reads, &[1]), Err(Anomaly::Backwards { before: &reads[2], after: &reads[1] }));
    let [transfer, newer, older] = reads;
    assert_eq!(check(&[transfer, newer, elsewhere(older)], &[1]), Ok(()));
}

/// A history that some database may have, in which each operation has its effect at some time between its two.
fn honest(rng: &mut StdRng) -> (Vec<Operation>, Vec<u64>) {
    let (mut operations, mut log) = (Vec::new(), Vec::new());
    for id in 1..=rng.random_range(2..=6) {
        let effect = id * 10;
        let times = [effect - rng.random_range(0..10), effect + rng.random_range(0..25)];
        operations.push(match rng.random_range(0..8) {
            0 => failed(id, times),
            1 => unknown(id, times),
            2..5 => strong(&log, times),
            kind => {
                log.push(id);
                if kind == 5 { unknown(id, times) } else { done(&log, times) }
            }
        });
    }
    (operations, log)
}

/// Something about it is not so.
fn falsify(operations: &mut [Operation], log: &mut Vec<u64>, rng: &mut StdRng) {
    let at = rng.random_range(0..operations.len());
    match rng.random_range(0..8) {
        0 | 1 => {
            let later = Duration::from_secs(rng.random_range(0..40));
            operations[at].sent += later;
            operations[at].ended += later;
        }
        2 => operations[at].ended = operations[at].sent,
        3 => operations[at].outcome = operations.choose(rng).unwrap().outcome.clone(),
        4 => operations[at].outcome = Outcome::Failed(String::new()),
        5 => log.extend(operations[at].transfer().map(|transfer| transfer.id)),
        6 if log.len() > 1 => log.swap(0, 1),
        _ => {
            log.pop();
        }
    }
}

#[test]
fn the_definition_comes_to_the_same_verdicts() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut verdicts = [0; 2];
    for number in 0..5000 {
        let (mut operations, mut log) = honest(&mut rng);
        assert_eq!((number, check(&operations, &log)), (number, Ok(())));
        for _ in 0..rng.random_range(0..3) {
            falsify(&mut operations, &mut log, &mut rng);
        }
        let (told, is_so) = (check(&operations, &log), has_order(&operations, &log));
        assert_eq!(told.is_ok(), is_so, "history {number}: {told:?} of {operations:#?}, log {log:?}");
        verdicts[usize::from(is_so)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 1000), "of one verdict there is too little: {verdicts:?}");
}
