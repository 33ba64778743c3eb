//! What earlier builds and the Python package left, under today's operator: buckets, byte for byte, and resources.
//!
//! The buckets are those of `src/engine/host/tests/frozen`, whose `README.md` says how they were made. Resources: `frozen/` has them as the
//! first definition knew them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Database, Namespace, Operator, Place, Resource, ServedBy, Snapshot};

const KEY: &str = "apps/orders.db";

/// The buckets, each with the number of rows that `main` has.
const FROZEN: [(&str, i64); 8] = [
    ("seed", 2),
    ("released", 2),
    ("killed", 2),
    ("promotion-made", 1),
    ("promotion-not-made", 2),
    ("creating", 1),
    ("chained", 3),
    ("proved", 3),
];

/// Those that were promoted to before, and have a file.
const WITH_A_PAST: [&str; 2] = ["chained", "proved"];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A bucket as its folder has it.
async fn thaw(name: &str) -> Place {
    let place = Place::create(ServedBy::Minio, &format!("frozen-{name}")).await;
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/host/tests/frozen").join(name);
    let kept = home.join("metadata.json");
    let mut metadata: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    for path in files(&home).iter().filter(|path| **path != kept) {
        let key = path.strip_prefix(&home).unwrap().to_str().unwrap();
        place.put_with(key, fs::read(path).unwrap(), metadata.remove(key).unwrap_or_default()).await;
    }
    assert_eq!(metadata, BTreeMap::new(), "{name}: metadata of objects that are not there");
    place
}

async fn rows(database: &Database) -> i64 {
    database.sql("select count(*) from t").await[0][0].as_i64().unwrap()
}

#[tokio::test]
async fn buckets_that_others_left_are_served_and_written_on() {
    let namespace = Namespace::create("frozen").await;
    let mut places = Vec::new();
    for (name, _) in FROZEN {
        places.push(thaw(name).await);
    }
    namespace.apply(&Resource::credentials(&places[0].account)).await;
    // Where the last process was killed, the branch is that of another resource, in another cluster.
    let taken = json!({"buckethead.dev/take-over": "1"});
    let mut databases = Vec::new();
    for ((name, _), place) in FROZEN.iter().zip(&places) {
        let resource = Resource::database(name, place, KEY).with("/metadata/annotations", taken.clone());
        if WITH_A_PAST.contains(name) {
            databases.extend([promoted(resource), before(name, place)]);
        } else {
            databases.push(resource);
        }
    }
    namespace.apply(&Resource::list(databases.into_iter())).await;
    let operator = Operator::start(&namespace).await;
    for ((name, expected), place) in FROZEN.iter().zip(&places) {
        namespace.wait_ready(name).await;
        let database = namespace.connect(&operator, name).await;
        if WITH_A_PAST.contains(name) {
            has_its_past(&namespace, &operator, name).await;
        }
        assert_eq!(rows(&database).await, *expected, "{name}");
        database.sql("insert into t values (100)").await;
        database.flush().await;
        let plain = Snapshot::open(&place.find(KEY).await.unwrap());
        assert_eq!(plain.value::<i64>("select count(*) from t"), expected + 1, "{name}");
    }
    operator.end().await;

    let operator = Operator::start(&namespace).await;
    for (name, expected) in FROZEN {
        let database = namespace.connect(&operator, name).await;
        assert_eq!(rows(&database).await, expected + 1, "{name}");
    }
    operator.end().await;
}

/// The promotion that was carried out when it was frozen, asked for again: it is told, and not carried out again.
fn promoted(resource: Resource) -> Resource {
    resource.with("/spec/promotion", json!({"id": "release-7", "from": {"branch": "next"}, "keepPreviousAs": "before-release-7"}))
}

/// The branch that keeps what `main` was before its promotion.
fn before(name: &str, place: &Place) -> Resource {
    Resource::database(&format!("{name}-before"), place, KEY).with("/spec/branch", "before-release-7")
}

async fn has_its_past(namespace: &Namespace, operator: &Operator, name: &str) {
    namespace.wait_condition(name, "PromotionApplied", "True", "Promoted").await;
    let database = namespace.connect(operator, name).await;
    let listed = database.files().await;
    let key = listed["files"][0]["bh_key"].as_str().unwrap_or_else(|| panic!("{name}: {listed}"));
    assert_eq!(database.get_file(key).await, (200, "kept".to_owned()), "{name}");
    let before = format!("{name}-before");
    namespace.wait_ready(&before).await;
    assert_eq!(rows(&namespace.connect(operator, &before).await).await, 2, "{before}");
}

#[tokio::test]
async fn resources_of_the_first_definition_are_accepted_as_they_are() {
    let namespace = Namespace::create("frozen-resources").await;
    for name in ["quickstart", "every-field"] {
        let file = format!("{}/tests/it/frozen/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        // Strict: a field that is not known any more is refused instead of dropped.
        let said = namespace.shell(&format!("kubectl apply --dry-run=server --validate=strict --filename {file}")).output().await.unwrap();
        let (printed, refused) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{name}: {printed}{refused}");
    }
}
