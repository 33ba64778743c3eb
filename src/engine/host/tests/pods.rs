//! Several processes of one resource of which it is known who lives, and the memory that one of them may give.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::*;
use crate::liveness::{Life, Liveness};

/// What is known of every other process.
#[derive(Debug)]
struct Known(watch::Sender<Life>, watch::Sender<u32>);

impl Known {
    fn of(life: Life) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(life), watch::Sender::new(0)))
    }

    /// Waits until it was asked so often.
    async fn asked(&self, times: u32) {
        self.1.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

impl Liveness for Known {
    fn of<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Life> {
        assert_eq!(pod, "before");
        self.1.send_modify(|asked| *asked += 1);
        std::future::ready(*self.0.borrow()).boxed()
    }
}

fn host_with(pod: &str, known: &Arc<Known>) -> Arc<Host> {
    Host::new(HostOptions { liveness: Some(Arc::clone(known) as Arc<dyn Liveness>), ..options_of(pod, HOUR) })
}

/// A bench whose database is open in the process `before`, with one row that is saved.
async fn served_before() -> (Bench, Database) {
    let mut bench = Bench::start().await;
    bench.host = host_in("before", Duration::ZERO);
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    (bench, database)
}

async fn opened(host: &Arc<Host>, name: &DatabaseName) -> State {
    let mut changes = host.changes();
    loop {
        match host.state(name) {
            State::Opening => drop(changes.recv().await),
            state => return state,
        }
    }
}

#[tokio::test]
async fn a_branch_of_a_live_pod_is_waited_for_until_that_releases_it() {
    let (bench, database) = served_before().await;
    let (config, known) = (bench.config("orders"), Known::of(Life::Lives));
    let after = host_with("after", &known);
    after.open(config.clone(), Remembered::default());
    known.asked(2).await;
    // It is asked for longer than a final flush may take, and goes on meanwhile.
    write(&database, "insert into t values (2)").await;
    assert!(matches!(after.state(&config.name), State::Opening));
    bench.close("orders").await.unwrap();
    assert!(matches!(opened(&after, &config.name).await, State::Open(_)));
    assert_eq!(count(&after.get(&config.name).unwrap().database).await, 2);
}

#[tokio::test]
async fn a_branch_of_a_pod_that_has_ended_is_taken_over_without_a_wait() {
    let (bench, database) = served_before().await;
    let (config, known) = (bench.config("orders"), Known::of(Life::Ended));
    // An hour is what it would wait for one of which nothing is known.
    let after = host_with("after", &known);
    after.open(config.clone(), Remembered::default());
    let state = opened(&after, &config.name).await;
    assert!(matches!(&state, State::Open(facts) if facts.epoch == Epoch(2)), "{state:?}");
    write(&database, "insert into t values (2)").await;
    assert!(matches!(&*database.flush(Flush::Forced).await.unwrap_err(), Error::Fenced { .. }));
}

#[tokio::test]
async fn whoever_is_found_alive_when_the_epoch_would_be_raised_is_waited_for() {
    let (bench, _database) = served_before().await;
    let (config, known) = (bench.config("orders"), Known::of(Life::Lives));
    let opener = host_with("after", &known).opener(&config).await.unwrap();
    let waits = Box::pin(opener.open(&config));
    tokio::select! {
        _ = waits => panic!("it must not open"),
        () = known.asked(3) => {}
    }
    assert_eq!(bench.record().await.epoch, Epoch(1), "nobody ended its tenure");
}

#[tokio::test]
async fn what_failed_here_is_given_away_so_that_nobody_waits_for_us() {
    let (mut bench, _database) = served_before().await;
    bench.host = host_in("before", Duration::ZERO);
    let broken = {
        let mut config = bench.config("orders");
        config.limits.max_size = 100;
        config
    };
    assert!(matches!(bench.settle(broken.clone()).await, State::Failed { .. }));
    let epoch = bench.record().await.epoch;
    bench.host.give_away(&broken.name).await.unwrap();
    assert!(matches!(bench.host.state(&broken.name), State::Absent));
    let record = bench.record().await;
    assert!(record.holder.is_none() && !record.released && record.epoch == epoch, "{record:?}");
    let after = host_with("after", &Known::of(Life::Lives));
    after.open(bench.config("orders"), Remembered::default());
    assert!(matches!(opened(&after, &broken.name).await, State::Open(_)));
}

#[tokio::test]
async fn what_is_open_is_not_given_away() {
    let (bench, database) = served_before().await;
    bench.host.give_away(&bench.config("orders").name).await.unwrap();
    assert_eq!(count(&database).await, 1);
    assert!(bench.record().await.holder.is_some());
}

#[tokio::test]
async fn what_does_not_fit_the_budget_is_refused_and_opens_once_there_is_room() {
    let mut bench = Bench::start().await;
    bench.host = Host::new(HostOptions { memory: Some(100 << 20), ..options_of("pod", HOUR) });
    let config = |name: &str, max_size: u64| {
        let mut config = bench.config(name);
        config.location.key = DatabaseKey::parse(&format!("apps/{name}.db")).unwrap();
        config.limits.max_size = max_size << 20;
        config
    };
    let first = bench.open(config("first", 60)).await;
    let State::Failed { error, .. } = bench.settle(config("large", 50)).await else { panic!("it must not open") };
    let Error::MemoryBudget { needed, free, budget, .. } = &*error else { panic!("{error}") };
    assert_eq!((*needed, *free, *budget), (50 << 20, 40 << 20, 100 << 20), "{error}");
    assert_eq!(bench.host.memory_room(), MemoryRoom { taken: 60 << 20, budget: Some(100 << 20) });
    bench.open(config("small", 40)).await;
    assert_eq!(bench.host.memory_room().taken, 100 << 20);
    write(&first, "create table t(x)").await;

    let mut changes = bench.host.changes();
    bench.close("first").await.unwrap();
    let large = config("large", 50).name;
    while matches!(bench.host.state(&large), State::Failed { .. }) {
        changes.recv().await.unwrap();
    }
    bench.open(config("large", 50)).await;
}
