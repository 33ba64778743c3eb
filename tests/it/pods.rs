//! Several pods of one operator: who has which database, what happens when one ends, dies or sleeps, and when nobody reaches the API server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::bucket::embedded::Dialect;
use engine::{BucketName, Clock as _, SystemClock};
use reqwest::StatusCode;

use crate::support::{
    ControlPlane, Database, End, Found, Namespace, Operator, Place, Program, Resource, Rows, ServedBy, Signal, embedded_store, until,
};

/// Short, for tests that wait until one has run out; and as long as it usually is, for those in which none may.
const SHORT: &str = "5";
const USUAL: &str = "15";

/// The pods that were started, by name.
struct Pods<'a> {
    namespace: &'a Namespace,
    lease: &'static str,
    running: BTreeMap<&'static str, Operator>,
}

impl<'a> Pods<'a> {
    async fn start(namespace: &'a Namespace, lease: &'static str, names: &[&'static str]) -> Self {
        let mut pods = Self { namespace, lease, running: BTreeMap::new() };
        for name in names {
            pods.add(name).await;
        }
        pods
    }

    fn spawn(&self, name: &str) -> Program {
        Operator::spawn_as(name, self.namespace, &["--lease-seconds", self.lease])
    }

    async fn add(&mut self, name: &'static str) {
        let operator = Operator::once_ready(self.spawn(name)).await;
        self.running.insert(name, operator);
    }

    fn take(&mut self, name: &str) -> Operator {
        let key = *self.running.keys().find(|key| **key == name).expect("it runs");
        self.running.remove(key).unwrap()
    }

    /// The pod that has a database, by its status, once one of those that run has it.
    async fn host(&self, database: &str) -> &'static str {
        until(&format!("a pod has {database}"), async || {
            let status = self.namespace.get("bucketdatabase", database).await["status"].take();
            self.running.keys().find(|pod| status["host"].as_str() == Some(pod)).copied()
        })
        .await
    }

    /// A database at a certain pod.
    async fn at(&self, pod: &str, database: &str) -> Database {
        self.namespace.connect(&self.running[pod], database).await
    }

    async fn end(self) {
        for operator in self.running.into_values() {
            operator.end().await;
        }
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("db-{number}")).collect()
}

async fn declare(namespace: &Namespace, place: &Place, names: &[String], interval: &str) {
    let resource = |name: &String| Resource::streaming(name, place, &format!("apps/{name}.db"), interval);
    namespace.apply(&Resource::list(names.iter().map(resource))).await;
    for name in names {
        namespace.wait_ready(name).await;
    }
}

async fn hosts(pods: &Pods<'_>, names: &[String]) -> BTreeMap<String, &'static str> {
    let mut hosts = BTreeMap::new();
    for name in names {
        hosts.insert(name.clone(), pods.host(name).await);
    }
    hosts
}

/// So many that each of two pods has some. Where one goes depends on its endpoint, whose port is another in each run: all of them go to the same of two
/// pods once in half a million runs.
const SPREAD: usize = 20;

#[tokio::test]
async fn databases_are_spread_move_to_a_pod_that_comes_and_away_from_one_that_ends() {
    let (namespace, place) = Namespace::with_place("pods-move", ServedBy::Minio).await;
    let mut pods = Pods::start(&namespace, USUAL, &["pod-a"]).await;
    let names = names(SPREAD);
    declare(&namespace, &place, &names, "1h").await;
    for name in &names {
        pods.at("pod-a", name).await.sql("create table t (x); insert into t values (1)").await;
    }

    pods.add("pod-b").await;
    let moved = until("some databases are at the new pod", async || ready_by_host(&namespace).await.remove("pod-b")).await;
    for name in &moved {
        assert_eq!(
            pods.at("pod-b", name).await.sql("select count(*) from t").await,
            serde_json::json!([[1]]),
            "what was not flushed moves, too"
        );
    }

    // Each pod answers for all of them.
    for (name, asked) in names.iter().zip(["pod-a", "pod-b"].iter().cycle()) {
        let told = pods.at(asked, name).await.sql("insert into t values (2) returning (select count(*) from t)").await;
        assert!(told[0][0].as_i64().is_some(), "{told}");
    }

    // Whoever writes meanwhile waits, and is not refused: at the pod that ends, until it does, and at the other.
    let leaving = pods.take("pod-a");
    let stop = AtomicBool::new(false);
    let writing = async {
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            for name in &names {
                // Any refusal fails the test.
                pods.at("pod-b", name).await.sql("insert into t values (3)").await;
            }
            answered += 1;
        }
        answered
    };
    let ending = async {
        leaving.end().await;
        stop.store(true, Ordering::Relaxed);
    };
    let (answered, ()) = tokio::join!(writing, ending);
    assert!(answered > 0);
    for name in &names {
        assert_eq!(pods.host(name).await, "pod-b");
        assert_eq!(pods.at("pod-b", name).await.sql("select count(*) from t").await, serde_json::json!([[2 + answered]]));
    }
    let leases =
        namespace.kubectl(&["get", "leases", "--namespace=default", "--selector", "buckethead.dev/group=pods-move", "--output=name"]).await;
    assert!(leases.contains("pods-move-member-pod-b"), "{leases}");
    pods.end().await;
}

#[tokio::test]
async fn what_a_killed_pod_had_made_durable_is_with_the_others_once_its_lease_has_run_out() {
    let (namespace, place) = Namespace::with_place("pods-kill", ServedBy::Minio).await;
    let mut pods = Pods::start(&namespace, SHORT, &["pod-a", "pod-b"]).await;
    let names = names(4);
    declare(&namespace, &place, &names, "1h").await;
    let victim = pods.host(&names[0]).await;
    let database = pods.at(victim, &names[0]).await;
    let mut rows = Rows::of(&database).await;
    rows.write_some(&database, 20).await;
    assert_eq!(rows.flush(&database).await.0, StatusCode::OK);
    pods.take(victim).program.kill().await;

    let heir = pods.host(&names[0]).await;
    namespace.wait_ready(&names[0]).await;
    let database = pods.at(heir, &names[0]).await;
    rows.settle(Found::by(&database).await, 20);
    for name in &names {
        assert_eq!(pods.host(name).await, heir, "all of them");
    }
    // It comes back as an earlier process's successor, and takes part again.
    pods.add(victim).await;
    until("by the same names it has the same place", async || (pods.host(&names[0]).await == victim).then_some(())).await;
    rows.compare(Found::by(&pods.at(victim, &names[0]).await).await, 0);
    pods.end().await;
}

#[tokio::test]
async fn a_pod_that_sleeps_past_its_lease_answers_nothing_when_it_wakes_up_and_ends() {
    let (namespace, place) = Namespace::with_place("pods-sleep", ServedBy::Minio).await;
    let mut pods = Pods::start(&namespace, SHORT, &["pod-a", "pod-b"]).await;
    let names = names(1);
    declare(&namespace, &place, &names, "1h").await;
    let name = &names[0];
    let sleeper = pods.host(name).await;
    let old = pods.at(sleeper, name).await;
    let mut rows = Rows::of(&old).await;
    rows.write_some(&old, 20).await;
    assert_eq!(rows.flush(&old).await.0, StatusCode::OK);
    rows.write_some(&old, 5).await;
    let mut asleep = pods.take(sleeper);
    asleep.program.send(Signal::Stop).await;

    let heir = pods.host(name).await;
    namespace.wait_ready(name).await;
    let new = pods.at(heir, name).await;
    rows.compare(Found::by(&new).await, 20);
    new.sql("create table newer (x)").await;

    // It is asked before it wakes up, so that its first moments are seen.
    let asked = tokio::join!(old.try_to_reach("select count(*) from rows"), old.try_to_reach("insert into rows values (0, 0)"), async {
        asleep.program.send(Signal::Continue).await;
    });
    for answer in [asked.0, asked.1].into_iter().flatten() {
        assert_ne!(answer.status(), StatusCode::OK, "nothing stale, and nothing is confirmed twice");
    }
    let (status, output) = asleep.program.exit().await;
    assert!(!status.success(), "Kubernetes is to start it anew");
    assert!(output.contains("was ended by another"), "{output}");
    rows.settle(Found::by(&new).await, 20);
    pods.end().await;
}

#[tokio::test]
async fn without_the_api_server_nobody_answers_once_the_lease_has_run_out_and_nobody_takes_anything_over() {
    let place = Place::create(ServedBy::Minio, "pods-alone").await;
    let mut cluster = ControlPlane::start();
    let namespace = cluster.namespace("pods-alone", &place).await;
    let pods = Pods::start(&namespace, SHORT, &["pod-a", "pod-b"]).await;
    let names = names(4);
    declare(&namespace, &place, &names, "1h").await;
    let before = hosts(&pods, &names).await;
    let host = before[&names[0]];
    let database = pods.at(host, &names[0]).await;
    let mut rows = Rows::of(&database).await;
    rows.write_some(&database, 10).await;

    cluster.stop_server();
    for operator in pods.running.values() {
        until("the lease has run out", async || operator.program.output().contains("the lease has run out").then_some(())).await;
    }
    assert_eq!(database.try_sql("select 1").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    // What was committed is saved all the same: writes do not rely on the lease.
    until("what was unsaved is in the bucket", async || {
        let prefix = format!("apps/{}.db.ltx/", names[0]);
        (place.list(&prefix).await.len() > 1).then_some(())
    })
    .await;

    cluster.start_server();
    until("it answers again", async || (database.try_sql("select 1").await.status() == StatusCode::OK).then_some(())).await;
    rows.compare(Found::by(&database).await, 10);
    let moment = SystemClock.wall() + Duration::from_secs(5);
    until("both have renewed for longer than a lease holds", async || {
        let leases = namespace.kubectl(&["get", "leases", "--namespace=default", "--output=jsonpath={.items[*].spec.renewTime}"]).await;
        let renewed: Vec<engine::WallTime> = leases.split_whitespace().map(|time| time.parse().unwrap()).collect();
        (renewed.len() == 2 && renewed.iter().all(|renewed| *renewed > moment)).then_some(())
    })
    .await;
    assert_eq!(hosts(&pods, &names).await, before, "nobody took anything over");
    pods.end().await;
}

/// Each believes that it is alone, as after a mistake: what then holds is the epoch's doing alone.
#[tokio::test]
async fn of_two_operators_that_both_believe_to_own_a_database_one_confirms_and_the_other_stops() {
    let (namespace, place) = Namespace::with_place("pods-both", ServedBy::Minio).await;
    namespace.apply(&Resource::streaming("both", &place, "apps/both.db", "100ms")).await;
    let start = async |pod: &'static str| {
        let environment = [("POD_NAME", pod), ("BUCKETHEAD_GROUP", pod)];
        // So long it waits for one of which it knows nothing.
        Operator::once_ready(Operator::spawn_in(&namespace, &["--shutdown-seconds", "1"], &environment)).await
    };
    let first = start("pod-a").await;
    namespace.wait_ready("both").await;
    let old = namespace.connect(&first, "both").await;
    let mut rows = Rows::of(&old).await;
    let second = start("pod-b").await;
    let (end, new) = tokio::join!(rows.write(&old), namespace.connect(&second, "both"));
    let End::Refused(status, reply) = end else { panic!("it ended: {end:?}") };
    assert!([StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}: {reply}");
    // Besides those that were called durable none has to be there.
    rows.settle(Found::by(&new).await, 0);
    rows.write_some(&new, 10).await;
    for sql in ["select 1", "insert into rows values (0, 0)"] {
        assert_ne!(old.try_sql(sql).await.status(), StatusCode::OK, "{sql}");
    }
    rows.settle(Found::by(&new).await, 10);
    first.program.kill().await;
    second.end().await;
}

const AT_ONCE: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "how many requests it takes is worth reading")]
async fn five_hundred_at_once_are_ready_on_two_pods_and_do_not_notice_two_that_cannot_be() {
    let (store, account, _folder) = embedded_store(Dialect::Standard).await;
    store.create_bucket(&BucketName::parse("many").unwrap()).await.unwrap();
    let place = Place::of(account, "many");
    let cluster = ControlPlane::start();
    let namespace = cluster.namespace("pods-many", &place).await;
    cluster.let_anything_in().await;
    let malformed = Resource::database("malformed", &place, "malformed.db").with("/spec/interval", 60);
    // A new definition takes effect a moment after it is taken.
    until("a malformed resource is let in", async || namespace.try_apply(&malformed).await.ok()).await;
    namespace.apply(&Resource::database("dead", &place, "dead.db").with("/spec/endpoint", "http://127.0.0.1:1")).await;
    let pods = Pods::start(&namespace, USUAL, &["pod-a", "pod-b"]).await;
    let before = requests(&pods).await;
    namespace
        .apply(&Resource::list((0..AT_ONCE).map(|number| Resource::database(&format!("one-{number}"), &place, &format!("{number}.db")))))
        .await;
    let all_ready = async {
        loop {
            let ready: BTreeMap<_, _> = ready_by_host(&namespace).await.into_iter().map(|(pod, names)| (pod, names.len())).collect();
            if ready.values().sum::<usize>() >= AT_ONCE {
                return ready;
            }
        }
    };
    let ready = tokio::time::timeout(Duration::from_mins(5), all_ready).await.expect("all of them are ready");
    let each = (requests(&pods).await - before) / AT_ONCE as u64;
    println!("{AT_ONCE} resources on two pods {ready:?}: {each} requests to the API server for each");
    assert!(ready.len() == 2 && ready.values().all(|count| *count > AT_ONCE / 4), "each pod has its share: {ready:?}");
    namespace.wait_condition("malformed", "Stalled", "True", "InvalidSpec").await;
    namespace.wait_not("Ready", "dead", "EndpointUnreachable").await;
    pods.end().await;
}

async fn requests(pods: &Pods<'_>) -> u64 {
    let mut all = 0;
    for operator in pods.running.values() {
        all += operator.requests().await;
    }
    all
}

/// The namespace's resources that are ready, by the pod that has them.
async fn ready_by_host(namespace: &Namespace) -> BTreeMap<String, Vec<String>> {
    let path = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {.status.host} {.metadata.name}{"\n"}{end}"#;
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in namespace.kubectl(&["get", "bucketdatabase", "--output", path]).await.lines() {
        if let Some((host, name)) = line.strip_prefix("True ").and_then(|ready| ready.split_once(' ')) {
            hosts.entry(host.to_owned()).or_default().push(name.to_owned());
        }
    }
    hosts
}
