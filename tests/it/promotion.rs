//! Branches and promotions from the resource: one branch's content put into another by `kubectl apply`, once, and undone by another one.

use serde_json::{Value, json};

use crate::support::{DATABASE, Database, Namespace, Operator, Place, Resource, ServedBy, Snapshot, until};

const KEY: &str = "apps/orders.db";
const APPLIED: &str = "PromotionApplied";

/// A database that is saved only when asked.
fn orders(place: &Place) -> Resource {
    Resource::database(DATABASE, place, KEY).with("/spec/branches", json!([{"name": "next"}]))
}

fn promotion(id: &str, from: &str) -> Value {
    json!({"id": id, "from": {"branch": from}})
}

async fn status(namespace: &Namespace) -> Value {
    namespace.get("bucketdatabase", DATABASE).await["status"].take()
}

async fn head(place: &Place, branch: &str) -> Option<Value> {
    serde_json::from_slice(&place.find(&format!("{KEY}.head/{branch}.json")).await?).ok()
}

async fn count(database: &Database) -> i64 {
    database.sql("select count(*) from t").await[0][0].as_i64().unwrap()
}

/// Waits until the promotion is carried out, and answers with the state that it made.
async fn promoted(namespace: &Namespace, id: &str) -> u64 {
    let told = until("the promotion", async || {
        let promotion = status(namespace).await["promotion"].take();
        (promotion["id"] == id && promotion["phase"] == "Applied").then_some(promotion)
    })
    .await;
    namespace.wait_condition(DATABASE, APPLIED, "True", "Promoted").await;
    told["txid"].as_u64().unwrap()
}

/// `main` with two rows that are saved, and `next` with those.
async fn with_next(name: &'static str) -> (Namespace, Place, Operator, Database) {
    let (namespace, place) = Namespace::with_place(name, ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1), (2)").await;
    namespace.apply(&orders(&place)).await;
    until("the branch in the status", async || {
        let branches = status(&namespace).await["branches"].take();
        branches.as_array()?.iter().any(|branch| branch["name"] == "next" && branch["parent"] == "main").then_some(())
    })
    .await;
    (namespace, place, operator, database)
}

/// Rows that are written one after the other until the work is done. None of them may fail.
async fn writing_meanwhile(database: &Database, work: impl Future<Output = ()>) -> i64 {
    let mut written = 0;
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            () = &mut work => return written,
            _ = database.sql("insert into t values (0)") => written += 1,
        }
    }
}

#[tokio::test]
async fn what_another_resource_prepared_is_promoted_under_writers_and_undone_by_another_promotion() {
    let (namespace, place, operator, production) = with_next("promoted").await;
    namespace.apply(&Resource::database("preview", &place, KEY).with("/spec/branch", "next")).await;
    namespace.wait_ready("preview").await;
    let preview = namespace.connect(&operator, "preview").await;
    // In memory alone: the source is flushed first.
    preview.sql("delete from t; insert into t values (7)").await;

    let asked = json!({"id": "release-7", "from": {"branch": "next"}, "keepPreviousAs": "before-release-7"});
    namespace.apply(&orders(&place).with("/spec/promotion", asked)).await;
    writing_meanwhile(&production, async {
        promoted(&namespace, "release-7").await;
    })
    .await;
    namespace.wait_event(DATABASE, "Promoted").await;
    assert_eq!(production.sql("select count(*) from t where x = 7").await, json!([[1]]));
    assert_eq!(production.sql("select count(*) from t where x in (1, 2)").await, json!([[0]]));
    let kept = Snapshot::open(&place.find(&format!("{KEY}.branch.before-release-7")).await.unwrap());
    assert_eq!(kept.value::<i64>("select count(*) from t where x in (1, 2)"), 2);
    assert_eq!(count(&preview).await, 1, "the source is as it was");

    namespace.apply(&orders(&place).with("/spec/promotion", promotion("undo-7", "before-release-7"))).await;
    promoted(&namespace, "undo-7").await;
    assert_eq!(production.sql("select count(*) from t where x in (1, 2)").await, json!([[2]]));
    namespace.apply(&orders(&place)).await;
    until("a status without promotion", async || status(&namespace).await["promotion"].is_null().then_some(())).await;
    assert_eq!(production.sql("select count(*) from t where x in (1, 2)").await, json!([[2]]), "removing the block undoes nothing");
}

#[tokio::test]
async fn only_who_serves_a_branch_overwrites_it() {
    let (namespace, place, operator, production) = with_next("served-elsewhere").await;
    let preview = Resource::database("preview", &place, KEY).with("/spec/branch", "next");
    namespace.apply(&preview.with("/spec/promotion", promotion("release-7", "next"))).await;
    let told = namespace.wait_condition("preview", "Stalled", "True", "TargetServedElsewhere").await;
    assert!(told.message.contains("served-elsewhere/orders"), "{told:?}");
    namespace.wait_condition("preview", APPLIED, "False", "TargetServedElsewhere").await;
    namespace.wait_not("Ready", "preview", "TargetServedElsewhere").await;
    assert_eq!(namespace.connect(&operator, "preview").await.sql("select 1").await, json!([[1]]), "it serves all the same");
    assert_eq!(count(&production).await, 2);
    assert_eq!(head(&place, "main").await.unwrap()["promotions"], json!([]));
    // Whichever of the two the next operator opens first.
    operator.end().await;
    let operator = Operator::start(&namespace).await;
    let production = namespace.connect(&operator, DATABASE).await;
    namespace.wait_condition("preview", APPLIED, "False", "TargetServedElsewhere").await;
    assert_eq!(count(&production).await, 2);
    assert_eq!(head(&place, "main").await.unwrap()["promotions"], json!([]));
}

/// Who serves the source and who the target: the resource that asks, another one, or nobody.
const COMBINATIONS: [(&str, &str, bool); 7] = [
    ("main", "idle", true),
    ("main", "next", false),
    ("next", "main", true),
    ("next", "idle", true),
    ("spare", "main", true),
    ("spare", "next", false),
    ("spare", "idle", true),
];

#[tokio::test]
async fn whoever_serves_source_and_target_either_all_of_it_is_there_or_nothing_happens() {
    let (namespace, place, operator, production) = with_next("combined").await;
    let branches = json!([{"name": "next"}, {"name": "spare"}, {"name": "idle"}]);
    let resource = || orders(&place).with("/spec/branches", branches.clone());
    namespace.apply(&resource()).await;
    namespace.apply(&Resource::database("preview", &place, KEY).with("/spec/branch", "next")).await;
    namespace.wait_ready("preview").await;
    let preview = namespace.connect(&operator, "preview").await;
    until("the branches", async || head(&place, "idle").await).await;
    for (number, (from, to, is_allowed)) in COMBINATIONS.into_iter().enumerate() {
        // In memory alone where somebody serves it.
        production.sql(&format!("insert into t values ('main {number}')")).await;
        preview.sql(&format!("insert into t values ('next {number}')")).await;
        let before = rows_of(&place, to, &production, &preview).await;
        let source = rows_of(&place, from, &production, &preview).await;
        let id = format!("from-{from}-to-{to}");
        let asked = json!({"id": id, "from": {"branch": from}, "to": to});
        namespace.apply(&resource().with("/spec/promotion", asked)).await;
        let wanted = if is_allowed {
            promoted(&namespace, &id).await;
            source
        } else {
            let told = namespace.wait_condition(DATABASE, "Stalled", "True", "TargetServedElsewhere").await;
            assert!(told.message.contains("combined/preview"), "{told:?}");
            before
        };
        assert_eq!(rows_of(&place, to, &production, &preview).await, wanted, "{id}");
    }
}

/// The rows of a branch, as whoever serves it has them, or else its snapshot.
async fn rows_of(place: &Place, branch: &str, production: &Database, preview: &Database) -> String {
    const ROWS: &str = "select group_concat(x, ', ') from t";
    match branch {
        "main" => production.sql(ROWS).await[0][0].as_str().unwrap().to_owned(),
        "next" => preview.sql(ROWS).await[0][0].as_str().unwrap().to_owned(),
        _ => Snapshot::open(&place.find(&format!("{KEY}.branch.{branch}")).await.unwrap()).value(ROWS),
    }
}

#[tokio::test]
async fn a_promotion_is_not_repeated_for_the_same_manifests_on_an_empty_cluster() {
    let (namespace, place, operator, database) = with_next("rebuilt").await;
    let asking = orders(&place).with("/spec/promotion", promotion("release-7", "next"));
    database.sql("insert into t values (3)").await;
    namespace.apply(&asking).await;
    let txid = promoted(&namespace, "release-7").await;
    assert_eq!(count(&database).await, 2);
    database.sql("insert into t values (4)").await;
    operator.end().await;

    // As the API server forgets it: without anybody's doing.
    namespace.kubectl(&["patch", "bucketdatabase", DATABASE, "--type=merge", r#"--patch={"metadata":{"finalizers":null}}"#]).await;
    namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    namespace.kubectl(&["delete", "secret", &format!("{DATABASE}-buckethead")]).await;
    namespace.apply(&asking).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    assert_eq!(promoted(&namespace, "release-7").await, txid, "it tells of the one that was carried out");
    assert_eq!(count(&namespace.connect(&operator, DATABASE).await).await, 3, "what was written after it is there");
}

#[tokio::test]
async fn what_was_not_reviewed_is_not_overwritten() {
    let (namespace, place, _operator, database) = with_next("reviewed").await;
    let reviewed = database.flush().await["txid"].as_u64().unwrap();
    database.sql("insert into t values (3)").await;
    let expecting = |id: &str, txid: u64| {
        let asked = json!({"id": id, "from": {"branch": "next"}, "expectedTxid": txid});
        orders(&place).with("/spec/promotion", asked)
    };
    namespace.apply(&expecting("release-7", reviewed)).await;
    let told = namespace.wait_condition(DATABASE, "Stalled", "True", "ContentChanged").await;
    assert!(told.message.contains("spec.promotion.expectedTxid"), "{told:?}");
    namespace.wait_event(DATABASE, "PromotionFailed").await;
    assert_eq!(count(&database).await, 3);
    let newest = database.flush().await["txid"].as_u64().unwrap();
    namespace.apply(&expecting("release-7-again", newest)).await;
    promoted(&namespace, "release-7-again").await;
    assert_eq!(count(&database).await, 2);

    // The API server refuses another block under the same id, but does not remember one that was removed.
    let other = json!({"id": "release-7-again", "from": {"branch": "next"}});
    assert!(namespace.try_apply(&orders(&place).with("/spec/promotion", other.clone())).await.is_err());
    namespace.apply(&orders(&place)).await;
    namespace.apply(&orders(&place).with("/spec/promotion", other)).await;
    namespace.wait_condition(DATABASE, "Stalled", "True", "PromotionIdUsed").await;
}

#[tokio::test]
async fn a_source_that_is_not_there_yet_is_waited_for() {
    let (namespace, place, operator, database) = with_next("awaited").await;
    let asking = |branches: Value| orders(&place).with("/spec/branches", branches).with("/spec/promotion", promotion("release-8", "later"));
    namespace.apply(&asking(json!([{"name": "next"}]))).await;
    namespace.wait_condition(DATABASE, "Reconciling", "True", "BranchNotFound").await;
    database.sql("insert into t values (3)").await;
    operator.end().await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&asking(json!([{"name": "next"}, {"name": "later", "from": "next"}]))).await;
    promoted(&namespace, "release-8").await;
    assert_eq!(count(&namespace.connect(&operator, DATABASE).await).await, 2);
}

#[tokio::test]
async fn no_request_fails_while_the_branch_is_switched() {
    let (namespace, place, _operator, database) = with_next("switched").await;
    namespace.apply(&orders(&place).with("/spec/branch", "next")).await;
    let switched = Box::pin(async {
        until("the switch", async || (head(&place, "next").await?["holder"] != Value::Null).then_some(())).await;
        let current = async || database.ask("GET", "branches", "").await.1.contains(r#""current":"next""#).then_some(());
        until("the branch in the API", current).await;
    });
    let written = writing_meanwhile(&database, switched).await;
    let saved = Snapshot::open(&place.find(KEY).await.unwrap()).value::<i64>("select count(*) from t");
    assert!(saved + count(&database).await >= 4 + written, "each row was written before or after it");
}

#[tokio::test]
async fn a_branch_that_left_the_list_can_be_kept_until_its_time_is_over() {
    let (namespace, place, operator, _database) = with_next("leaving").await;
    let resource = |branches: Value, retention: &str| {
        let resource = Resource::database(DATABASE, &place, KEY).with("/spec/branches", branches);
        resource.with("/spec/durability/retention", retention)
    };
    let policy_is = async |policy: &str| {
        until("the policy in the head record", async || (head(&place, "next").await?["deletionPolicy"] == policy).then_some(())).await;
    };
    let leaves = async || {
        until("the mark", async || head(&place, "next").await?["leaving"].is_string().then_some(())).await;
    };
    let temporary = json!([{"name": "next", "deletionPolicy": "Delete"}]);
    namespace.apply(&resource(temporary.clone(), "1h")).await;
    policy_is("delete").await;
    namespace.apply(&resource(json!([]), "1h")).await;
    leaves().await;
    operator.end().await;
    let _operator = Operator::start(&namespace).await;
    namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/keep-branch=next"]).await;
    policy_is("retain").await;
    assert!(head(&place, "next").await.unwrap()["leaving"].is_null());

    namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/keep-branch-"]).await;
    namespace.apply(&resource(temporary, "2s")).await;
    policy_is("delete").await;
    namespace.apply(&resource(json!([]), "2s")).await;
    until("the end of the branch", async || (head(&place, "next").await?["state"] == "tombstone").then_some(())).await;
    until("the end of its object", async || place.find(&format!("{KEY}.branch.next")).await.is_none().then_some(())).await;
    until("a status without it", async || (status(&namespace).await["branches"].as_array()?.len() == 1).then_some(())).await;
    namespace.apply(&orders(&place)).await;
    namespace.wait_condition(DATABASE, "Stalled", "True", "BranchDeleted").await;
}
