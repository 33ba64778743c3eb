use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{AuthorityError, SystemClock};
use futures::future::{BoxFuture, join_all};
use prometheus_client::registry::Registry;

use super::*;
use crate::access::failures::Peer;

/// Answers by the token's first letter, once it may.
struct Oracle {
    asked: AtomicUsize,
    may_answer: watch::Sender<bool>,
}

impl Authority for Oracle {
    fn review<'a>(&'a self, _: &'a DatabaseName, token: &'a str) -> BoxFuture<'a, Result<Option<Permission>, AuthorityError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.may_answer.subscribe().wait_for(|may| *may).await.unwrap();
            match token.as_bytes()[0] {
                b'w' => Ok(Some(Permission::Write)),
                b'r' => Ok(Some(Permission::Read)),
                b'x' => Err(AuthorityError { doing: "reviewing a token", source: "connection refused".into() }),
                _ => Ok(None),
            }
        })
    }
}

struct Bench {
    oracle: Arc<Oracle>,
    reviews: Reviews,
}

impl Bench {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let oracle = Arc::new(Oracle { asked: AtomicUsize::new(0), may_answer: watch::Sender::new(true) });
        let failures = Arc::new(Failures::register(&mut Registry::default(), Arc::clone(&clock)));
        let reviews = Reviews::new(Arc::clone(&oracle) as Arc<dyn Authority>, clock, failures);
        Self { oracle, reviews }
    }

    async fn ask(&self, token: &str) -> Answer {
        self.ask_from(1, token).await
    }

    async fn ask_from(&self, address: u8, token: &str) -> Answer {
        self.reviews.ask(&orders(), token, from(address)).await
    }

    fn asked(&self) -> usize {
        self.oracle.asked.load(Ordering::Relaxed)
    }
}

fn orders() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

fn from(address: u8) -> Address {
    Address::of(Some(Peer(SocketAddr::from((Ipv4Addr::new(10, 0, 0, address), 80)))))
}

const REFUSED_AT_OUR_EXPENSE: Answer = Answer::Refuses { is_paid: true };

#[tokio::test(start_paused = true)]
async fn an_answer_holds_for_its_time_and_no_longer() {
    let bench = Bench::new();
    for (token, answer, time) in [
        ("w", Answer::Permits(Permission::Write), Duration::from_mins(1)),
        ("r", Answer::Permits(Permission::Read), Duration::from_mins(1)),
        ("no", Answer::Refuses { is_paid: false }, Duration::from_secs(10)),
    ] {
        let asked = bench.asked();
        bench.ask(token).await;
        tokio::time::advance(time.checked_sub(Duration::from_millis(1)).unwrap()).await;
        assert_eq!((bench.ask(token).await, bench.asked()), (answer, asked + 1), "{token}");
        tokio::time::advance(Duration::from_millis(1)).await;
        bench.ask(token).await;
        assert_eq!(bench.asked(), asked + 2, "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_about_one_token_and_one_database() {
    let bench = Bench::new();
    assert_eq!(bench.ask("w").await, Answer::Permits(Permission::Write));
    assert_eq!(bench.ask("now").await, REFUSED_AT_OUR_EXPENSE);
    bench.reviews.ask(&DatabaseName::new("apps", "other"), "w", from(1)).await;
    assert_eq!(bench.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn requests_with_one_token_share_one_review() {
    let bench = Bench::new();
    bench.oracle.may_answer.send_replace(false);
    let requests = join_all((0..50).map(|_| bench.ask("w")));
    let answering = async {
        tokio::task::yield_now().await;
        bench.oracle.may_answer.send_replace(true);
    };
    let (answers, ()) = tokio::join!(requests, answering);
    assert_eq!((answers, bench.asked()), (vec![Answer::Permits(Permission::Write); 50], 1));
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_does_not_answer_admits_nobody_and_costs_nobody_anything() {
    let bench = Bench::new();
    for number in 0..50 {
        assert_eq!(bench.ask(&format!("x{number}")).await, Answer::Unavailable);
    }
    assert_eq!((bench.ask("x1").await, bench.asked()), (Answer::Unavailable, 50), "it is not asked too often");
    tokio::time::advance(SILENT).await;
    assert_eq!((bench.ask("x1").await, bench.asked()), (Answer::Unavailable, 51), "but again");
    bench.oracle.may_answer.send_replace(false);
    let begun = SystemClock.now();
    assert_eq!(bench.ask("w").await, Answer::Unavailable);
    assert_eq!(SystemClock.now() - begun, PATIENCE);
    bench.oracle.may_answer.send_replace(true);
    tokio::time::advance(SILENT).await;
    assert_eq!(bench.ask("w").await, Answer::Permits(Permission::Write));
    // Nobody is admitted longer because the authority is away.
    tokio::time::advance(PERMITTED).await;
    bench.oracle.may_answer.send_replace(false);
    assert_eq!(bench.ask("w").await, Answer::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_address_with_too_many_failures_has_no_new_tokens_reviewed() {
    let bench = Bench::new();
    assert_eq!(bench.ask("w").await, Answer::Permits(Permission::Write));
    for number in 0..20 {
        assert_eq!(bench.ask(&format!("no-{number}")).await, REFUSED_AT_OUR_EXPENSE);
    }
    assert_eq!((bench.ask("no").await, bench.ask("w2").await, bench.asked()), (Answer::NotAsked, Answer::NotAsked, 21));
    assert_eq!(bench.ask_from(2, "w2").await, Answer::Permits(Permission::Write), "from elsewhere");
    assert_eq!(bench.ask("w2").await, Answer::Permits(Permission::Write), "it is known by now");

    // Whoever was admitted goes on, however long the other one goes on.
    for _ in 0..200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        while bench.ask(&format!("no-{}", bench.asked())).await != Answer::NotAsked {}
        assert_eq!(bench.ask("w").await, Answer::Permits(Permission::Write));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_permitted_no_more_is_refused_when_its_time_is_over() {
    /// Permits until told otherwise.
    struct Fickle(watch::Sender<bool>);
    impl Authority for Fickle {
        fn review<'a>(&'a self, _: &'a DatabaseName, _: &'a str) -> BoxFuture<'a, Result<Option<Permission>, AuthorityError>> {
            let permits = *self.0.borrow();
            Box::pin(std::future::ready(Ok(permits.then_some(Permission::Read))))
        }
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let failures = Arc::new(Failures::register(&mut Registry::default(), Arc::clone(&clock)));
    let fickle = Arc::new(Fickle(watch::Sender::new(true)));
    let reviews = Reviews::new(Arc::clone(&fickle) as Arc<dyn Authority>, clock, failures);
    assert_eq!(reviews.ask(&orders(), "t", from(1)).await, Answer::Permits(Permission::Read));
    fickle.0.send_replace(false);
    tokio::time::advance(PERMITTED).await;
    assert_eq!(reviews.ask(&orders(), "t", from(1)).await, Answer::Refuses { is_paid: false }, "once, for the old times' sake");
    tokio::time::advance(REFUSED).await;
    assert_eq!(reviews.ask(&orders(), "t", from(1)).await, REFUSED_AT_OUR_EXPENSE);
    fickle.0.send_replace(true);
    tokio::time::advance(REFUSED).await;
    assert_eq!(reviews.ask(&orders(), "t", from(1)).await, Answer::Permits(Permission::Read));
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_early_pays_all_the_same() {
    let bench = Bench::new();
    for number in 0..20 {
        let token = format!("no-{number}");
        let asking = bench.ask(&token);
        tokio::select! {
            biased;
            answer = asking => panic!("{answer:?}"),
            () = std::future::ready(()) => {}
        }
    }
    // The reviews go on.
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!((bench.ask("no-21").await, bench.asked()), (Answer::NotAsked, 20));
    assert_eq!(bench.ask("no-3").await, Answer::Refuses { is_paid: false });
}

#[tokio::test(start_paused = true)]
async fn there_is_a_bound_for_what_is_asked_at_once() {
    let bench = Bench::new();
    bench.oracle.may_answer.send_replace(false);
    let tokens: Vec<String> = (0..UNDER_WAY).map(|number| format!("w{number}")).collect();
    let addresses = (0..UNDER_WAY).map(|number| u8::try_from(number).unwrap());
    let mut asking = join_all(tokens.iter().zip(addresses).map(|(token, address)| bench.ask_from(address, token)));
    tokio::select! {
        biased;
        _ = &mut asking => panic!("nobody answers"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(bench.ask_from(200, "w").await, Answer::Unavailable);
    bench.oracle.may_answer.send_replace(true);
    assert!(asking.await.iter().all(|answer| *answer == Answer::Permits(Permission::Write)));
    assert_eq!(bench.ask_from(200, "w").await, Answer::Permits(Permission::Write));
}
