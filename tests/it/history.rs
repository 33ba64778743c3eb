//! Several clients of several databases write down what they asked for and what they were told, while processes are killed, stand still and
//! are taken over, and the store fails. Where answers mean that the bucket has it, there is an order of all of it that explains each answer.
//!
//! `BUCKETHEAD_HISTORY_SECONDS` says for how long, `BUCKETHEAD_HISTORY_SEED` what happens when.

mod check;
mod client;
mod operation;
mod stage;

use std::time::Duration;

use crate::support::{Seed, Signal, setting};
use check::{Anomaly, check};
use client::LONG;
use operation::{Asked, Operation, Outcome, Seen};
use stage::{History, Mode, Stage, Tally};

/// After so long other databases begin, so that what there is to open and to compare stays little.
const LONGEST: u64 = 30;

#[tokio::test]
async fn in_sync_everything_that_clients_were_told_has_an_order() {
    let seed = Seed::of("BUCKETHEAD_HISTORY_SEED");
    let (mut rng, mut tally) = (seed.rng(), Tally::default());
    let mut left = setting("BUCKETHEAD_HISTORY_SECONDS", 15);
    while left > 0 {
        let seconds = left.min(LONGEST);
        left -= seconds;
        let (stage, running) = Stage::begin(&[Mode::Sync, Mode::Sync, Mode::Asked], &format!("history-{left}"), &mut rng).await;
        let (histories, more) = stage.play(running, Duration::from_secs(seconds), &mut rng).await;
        tally.add(&more);
        for history in histories {
            if let Err(anomaly) = check(&history.operations, &history.log) {
                tell(&format!("{seed}, {tally}: {anomaly}"));
                panic!("{anomaly}");
            }
        }
    }
    tell(&format!("{seed}, {tally}: strictly serialisable"));
    assert!(tally.is_complete(), "not everything was put to the test");
}

#[tokio::test]
async fn a_database_that_answers_before_the_bucket_has_it_is_caught() {
    let seed = Seed::of("BUCKETHEAD_HISTORY_SEED");
    let mut rng = seed.rng();
    let (stage, running) = Stage::begin(&[Mode::Stream], "history-stream", &mut rng).await;
    let (histories, tally) = stage.play(running, Duration::from_secs(3), &mut rng).await;
    let found = check(&histories[0].operations, &histories[0].log).unwrap_err();
    tell(&format!("{seed}, {tally}, in the mode stream: {found}"));
    assert!(matches!(found, Anomaly::Lost { .. }), "{found}");
}

#[tokio::test]
async fn a_process_that_slept_through_a_takeover_shows_old_states_to_plain_reads_alone_and_that_is_caught_of_strong_ones() {
    let seed = Seed::of("BUCKETHEAD_HISTORY_SEED");
    let mut rng = seed.rng();
    let (stage, old) = Stage::begin(&[Mode::Sync, Mode::Sync], "history-sleeper", &mut rng).await;
    let mut clients = [0, 1].map(|number| stage.client(number, &mut rng));
    let mut told = [Vec::new(), Vec::new()];
    for (client, told) in clients.iter_mut().zip(&mut told) {
        told.push(client.transfer(&old.served).await);
    }
    old.dev.program.send(Signal::Stop).await;
    let new = stage.successor().await;
    for (client, told) in clients.iter_mut().zip(&mut told) {
        told.push(client.transfer(&new.served).await);
    }
    old.dev.program.send(Signal::Continue).await;
    // Of one database it learns by a strong read that it has it no more, of the other by a write, which its memory has by then.
    for (number, (client, told)) in clients.iter_mut().zip(&mut told).enumerate() {
        told.push(client.ask(&old.served, Asked::PlainRead, LONG).await);
        let versions = [0, 1, 2].map(|at| told[at].seen().map(|seen: &Seen| seen.version));
        assert_eq!(versions, [Some(1), Some(2), Some(1)]);
        if number == 1 {
            told.push(client.transfer(&old.served).await);
            assert!(matches!(told[3].outcome, Outcome::Unknown(_)), "{}", told[3]);
        }
        for asked in [Asked::StrongRead, Asked::PlainRead] {
            let refused = client.ask(&old.served, asked, LONG).await;
            assert!(matches!(refused.outcome, Outcome::Failed(_)), "{refused}");
        }
    }
    for dev in [old.dev, new.dev] {
        dev.program.kill().await;
    }

    for History { operations, log } in stage.look(told.into(), &mut rng).await {
        assert_eq!(check(&operations, &log), Ok(()));
        let claimed: Vec<Operation> = operations.iter().map(as_strong).collect();
        assert_eq!(check(&claimed, &log), Err(Anomaly::Backwards { before: &claimed[2], after: &claimed[1] }));
    }
}

/// What was told to a plain read, as if a strong one had been told it.
fn as_strong(operation: &Operation) -> Operation {
    let asked = if operation.asked == Asked::PlainRead { Asked::StrongRead } else { operation.asked };
    Operation { asked, ..operation.clone() }
}

#[allow(clippy::print_stderr, reason = "a passed test should say how much it tried")]
fn tell(verdict: &str) {
    eprintln!("verdict: {verdict}");
}
