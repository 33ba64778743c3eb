//! The seed's own package and we read each other's snapshots.

use std::process::Stdio;
use std::time::Duration;

use rand::Rng as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    DATABASE, Database, Folders, Found, Namespace, Operator, Place, Resource, Rows, Seed, ServedBy, Signal, setting, until,
};

const KEY: &str = "shared/app.db";

#[tokio::test]
async fn the_seed_reads_what_we_wrote() {
    let (namespace, place) = Namespace::with_place("seed-reads", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database
        .sql(
            "create table written (x integer, y blob); insert into written values (9007199254740993, x'00ff'); \
             insert into bh_kv values ('greeting', cast('grüße' as blob), 1.5, 2.5)",
        )
        .await;
    operator.end().await;

    assert_eq!(seed("read.py", &[], &place, KEY).await, json!({"rows": [[9_007_199_254_740_993_i64, "00ff"]], "greeting": "grüße"}));
}

#[tokio::test]
async fn we_read_what_the_seed_wrote() {
    let (namespace, place) = Namespace::with_place("seed-writes", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let wrote = seed("write.py", &[], &place, KEY).await;

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x, y from written").await, json!([[9_007_199_254_740_993_i64, {"base64": "AP8="}]]));
    assert_eq!(database.sql("select key, cast(value as text) from bh_kv").await, json!([["greeting", "grüße"]]));
    assert_eq!(database.sql("select bh_key, size, filename from filestore").await, json!([[wrote["file"], 5, "hello.txt"]]));
    assert_eq!(database.sql("select collection, id, doc ->> 'name' from bh_docs").await, json!([["people", "1", "Ada"]]));
}

#[tokio::test]
async fn keys_and_documents_of_either_side_are_right_for_the_other() {
    let (namespace, place) = Namespace::with_place("seed-views", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    for (method, route, body) in [
        ("PUT", "kv/user/1", "grüße"),
        ("PUT", "kv/both", "ours"),
        ("POST", "docs/people", r#"[{"_id": "ü", "name": "Ada", "age": 36, "big": 12345678901234567890123}, {"_id": "2", "tags": ["x"]}]"#),
        ("POST", "docs/people/indexes", r#"{"path": "name"}"#),
    ] {
        let (status, reply) = database.ask(method, route, body).await;
        assert!(status.is_success(), "{method} {route}: {status} {reply}");
    }
    let first = database.sql("select created_at from bh_kv where key = 'both'").await;
    operator.end().await;

    let seen = seed("views.py", &[], &place, KEY).await;
    assert_eq!(seen["keys"], json!(["both", "user/1"]));
    assert_eq!(seen["values"], json!(["ours", "grüße"]));
    let people = json!([{"_id": "ü", "name": "Ada", "age": 36, "big": "12345678901234567890123"}, {"_id": "2", "tags": ["x"]}]);
    assert_eq!(seen["people"], people);
    assert_eq!(seen["found"], json!(["ü"]));

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.ask("GET", "kv?prefix=b", "").await.1, r#"{"keys":["both","bytes"],"next":null}"#);
    assert_eq!(database.ask("GET", "kv/both", "").await.1, "théirs");
    assert_eq!(database.sql("select created_at from bh_kv where key = 'both'").await, first);
    assert_eq!(database.ask("GET", "kv/user/1", "").await.0, StatusCode::NOT_FOUND);
    let found = async |filter: Value| {
        let (status, reply) = database.ask("POST", "docs/people/find", &json!({"filter": filter}).to_string()).await;
        assert_eq!(status, StatusCode::OK, "{reply}");
        serde_json::from_str::<Value>(&reply).unwrap()["documents"].clone()
    };
    // By the index, which the seed has kept up, and without it.
    assert_eq!(found(json!({"name": "Bo"})).await, json!([{"_id": seen["inserted"], "name": "Bo", "city": {"name": "Zürich"}}]));
    assert_eq!(found(json!({"city": {"name": "Zürich"}})).await[0]["_id"], seen["inserted"]);
    assert_eq!(found(json!({"name": "Eve"})).await[0]["age"], 37);
    assert_eq!(found(json!({"name": "Ada"})).await, json!([]));
    assert_eq!(database.ask("GET", "docs/people/2", "").await.0, StatusCode::NOT_FOUND);
    operator.end().await;
}

#[tokio::test]
async fn files_of_either_side_are_files_of_the_other() {
    let (namespace, place) = Namespace::with_place("seed-files", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let ours = namespace.connect(&operator, DATABASE).await.put_file("of ours", "grün.txt").await;
    operator.end().await;

    let key = ours["bh_key"].as_str().unwrap();
    let read = seed("files.py", &["get", key], &place, KEY).await;
    assert_eq!((&read["content"], &read["keys"]), (&json!("of ours"), &json!([key])));
    assert_eq!(read["head"], ours);
    // The same content is kept once, whoever puts it.
    let before = place.etag(&format!("files/{key}")).await;
    assert_eq!(seed("files.py", &["put", "of ours"], &place, KEY).await, json!(key));
    assert_eq!(place.etag(&format!("files/{key}")).await, before);
    let theirs = seed("files.py", &["put", "of the seed"], &place, KEY).await;
    let theirs = theirs.as_str().unwrap();

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.get_file(theirs).await, (200, "of the seed".to_owned()));
    assert_eq!(database.get_file(key).await, (200, "of ours".to_owned()));
    let listed = database.files().await;
    assert_eq!(listed["files"][0]["bh_key"], theirs);
    assert_eq!(listed["files"][0]["metadata"], json!({"by": "ßeed"}));
    assert_eq!(listed["files"][1], ours);
    // Ours writes what the seed would have written, to the byte.
    database.put_file("twin", "ä.txt").await;
    assert_eq!(
        database
            .sql("select distinct typeof(bh_key), typeof(object_key), typeof(size), typeof(created_at), typeof(metadata) from filestore")
            .await,
        json!([["text", "text", "integer", "real", "text"]])
    );
    operator.end().await;
}

#[tokio::test]
async fn branches_of_either_side_are_branches_of_the_other() {
    let (namespace, place) = Namespace::with_place("seed-branches", ServedBy::Minio).await;
    let resource = Resource::database(DATABASE, &place, KEY);
    namespace.apply(&resource).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x integer primary key); insert into t values (1)").await;
    let resource = resource.with("/spec/branches", json!([{"name": "ours"}]));
    namespace.apply(&resource).await;
    until("our branch", async || (names(&database).await == ["main", "ours"]).then_some(())).await;
    database.sql("insert into t values (2)").await;
    operator.end().await;

    let seen = seed("branches.py", &[], &place, KEY).await;
    assert_eq!(seen, json!({"branches": ["main", "ours"], "main": [1, 2], "ours": [1], "current": "main"}));

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    // Its overwrite lacks our last row. Nobody can tell it from what is made of an earlier state, so it stands beside ours.
    let [main, ours, outside, theirs] = <[String; 4]>::try_from(names(&database).await).unwrap();
    assert_eq!((&*main, &*ours, &*theirs), ("main", "ours", "theirs"));
    assert!(outside.starts_with("outside-"), "{outside}");
    assert_eq!(database.sql("select x from t").await, json!([[1], [2]]));
    // The seed's overwrite takes its memory along, and leaves the branch where it was in the bucket.
    for (branch, rows) in [(outside, json!([[1], [20], [30], [40]])), (theirs, json!([[1], [20]])), (ours, json!([[1], [20]]))] {
        namespace.apply(&resource.clone().with("/spec/branch", branch.as_str())).await;
        namespace.kubectl(&["wait", &format!("--for=jsonpath={{.status.branch}}={branch}"), &format!("bucketdatabase/{DATABASE}")]).await;
        assert_eq!(database.sql("select x from t").await, rows, "{branch}");
        database.sql("insert into t values (100)").await;
    }
    operator.end().await;
    // What was there before the seed's overwrite and its last flush is one of the seed's own states by now; each branch has one.
    let previous = ["", ".branch.ours", ".branch.theirs"].map(|branch| format!("{KEY}{branch}.prev"));
    let keys = place.list(KEY).await;
    assert!(previous.iter().all(|key| keys.contains(key)), "{keys:?}");
}

/// The names of all branches.
async fn names(database: &Database) -> Vec<String> {
    let (status, reply) = database.ask("GET", "branches", "").await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    let list: Value = serde_json::from_str(&reply).unwrap();
    list["branches"].as_array().unwrap().iter().map(|branch| branch["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_seeds_files_list_and_gc_do_no_harm_while_we_serve() {
    let (namespace, place) = Namespace::with_place("seed-beside", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    let kept = database.put_file("kept", "a.txt").await;
    database.sql("create table t (x integer primary key); insert into t values (1)").await;
    database.flush().await;
    // Not in the snapshot that the seed reads: to it the content is an orphan, but a young one.
    let young = database.put_file("young", "b.txt").await;
    database.sql("insert into t values (2)").await;
    let ours = place.etag(KEY).await;
    for (number, arguments) in (3..).zip([&["list"][..], &["gc", "300"]]) {
        let told = seed("files.py", arguments, &place, KEY).await;
        if arguments == ["list"] {
            assert_eq!(told, json!([kept["bh_key"]]));
        } else {
            assert_eq!((&told["orphans_deleted"], &told["dangling_rows_found"]), (&json!(0), &json!(0)), "{told}");
        }
        // It uploads at its end whatever it did, and takes our place.
        assert_ne!(place.etag(KEY).await, ours);
        database.sql(&format!("insert into t values ({number})")).await;
        database.flush().await;
    }
    for (file, content) in [(&kept, "kept"), (&young, "young")] {
        assert_eq!(database.get_file(file["bh_key"].as_str().unwrap()).await, (200, content.to_owned()));
    }
    assert_eq!(place.list(&format!("{KEY}.branch.")).await, Vec::<String>::new(), "nothing of it was worth keeping");
    operator.end().await;
    assert_eq!(seed("files.py", &["list"], &place, KEY).await, json!([young["bh_key"], kept["bh_key"]]));
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x from t").await, json!([[1], [2], [3], [4]]));
    operator.end().await;
}

#[tokio::test]
async fn the_seeds_gc_takes_blobs_at_most_and_never_our_records() {
    let (namespace, place) = Namespace::with_place("seed-gc", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    let kept = database.put_file("kept", "a.txt").await;
    let key = kept["bh_key"].as_str().unwrap();
    database.put_file("orphan", "b.txt").await;
    database.sql("delete from filestore where filename = 'b.txt'").await;
    database.flush().await;
    let report = gc(&place, &["--grace-seconds", "0"]).await;
    assert_eq!((&report["stage"], &report["marked"], &report["owners"]), (&json!("marked"), &json!(1), &json!(1)));
    let records = place.list("files.").await;
    assert_eq!(records.len(), 2, "{records:?}");

    // Another database of the seed's under the same prefix: it knows no row of ours.
    let swept = seed("files.py", &["gc", "0"], &place, "of-the-seed.db").await;
    assert_eq!((&swept["orphans_deleted"], &swept["dangling_rows_found"]), (&json!(2), &json!(0)));
    assert_eq!(place.list("files.").await, records);
    assert_eq!(place.list("files/").await, Vec::<String>::new());
    assert_eq!(database.get_file(key).await.0, 502);
    let report = gc(&place, &["--dry-run"]).await;
    assert_eq!((&report["dangling"], &report["deleted"]), (&json!(1), &json!(0)));
    // Putting it again repairs it.
    assert_eq!(database.put_file("kept", "a.txt").await, kept);
    assert_eq!(database.get_file(key).await, (200, "kept".to_owned()));
    operator.end().await;
}

/// It reads the plain file whenever it likes, and writes its own over whatever stands there when it ends: also while we are dead, and after we
/// have gone on from what it read. `BUCKETHEAD_SEED_RUNS` says how often, `BUCKETHEAD_SEED_MOMENTS` at which moments.
#[tokio::test]
async fn the_seed_at_moments_of_chance_takes_no_acknowledged_row_away() {
    let chance = Seed::of("BUCKETHEAD_SEED_MOMENTS");
    let mut random = chance.rng();
    let place = Place::create(ServedBy::Minio, "seed-by-chance").await;
    let folders = Folders::with(&Resource::credentials(&place.account));
    folders.declare("orders.yaml", &Resource::synced(DATABASE, &place, KEY));
    let dev = folders.start("standard").await;
    let mut rows = Rows::of(&dev.database(DATABASE)).await;
    dev.program.end(Signal::Term).await;
    for number in 0..setting("BUCKETHEAD_SEED_RUNS", 4) {
        let mut moment = |most: u64| Duration::from_millis(random.random_range(0..most));
        let (begin, live, is_killed) = (moment(1500), moment(2000), number % 2 == 0);
        let file = format!("of run {number}");
        let seeds = async {
            tokio::time::sleep(begin).await;
            // With a change of its own, or with none.
            if number % 4 < 2 {
                seed("files.py", &["put", &file], &place, KEY).await
            } else {
                seed("files.py", &["list"], &place, KEY).await
            }
        };
        let ours = async {
            let dev = folders.start("standard").await;
            let database = dev.database(DATABASE);
            let all = rows.told().len();
            rows.settle(Found::by(&database).await, all);
            tokio::select! {
                end = rows.write(&database) => panic!("a write was refused: {end:?}"),
                () = tokio::time::sleep(live) => {}
            }
            if is_killed {
                dev.program.kill().await;
            } else {
                assert!(dev.program.end(Signal::Term).await.success());
            }
        };
        tokio::join!(seeds, ours);
    }
    let dev = folders.start("standard").await;
    let all = rows.told().len();
    rows.settle(Found::by(&dev.database(DATABASE)).await, all);
}

#[tokio::test]
async fn gc_says_what_it_was_not_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_buckethead")).arg("gc").env_clear().output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("R2_BUCKET") && told.contains("R2_SECRET_ACCESS_KEY"), "{told}");
}

/// Runs `buckethead gc`; answers with its report.
async fn gc(place: &Place, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_buckethead"))
        .args(["gc", "--output", "json"])
        .args(arguments)
        .envs(place.settings())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a script of `tests/it/seed` with the seed's own settings; answers with the JSON that it prints.
async fn seed(script: &str, arguments: &[&str], place: &Place, key: &str) -> Value {
    let script = format!("{}/tests/it/seed/{script}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&python("python", &[&[&*script], arguments].concat(), place, key).await).unwrap()
}

/// Runs the seed's own command line; answers with what it prints.
async fn seeds_command(arguments: &[&str], place: &Place) -> String {
    let main = "import sys; sys.argv[0] = 'buckethead'; from buckethead.cli import main; main()";
    python("python", &[&["-c", main], arguments].concat(), place, KEY).await
}

async fn python(interpreter: &str, arguments: &[&str], place: &Place, key: &str) -> String {
    let home = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("bash")
        .args(["-c", r#"exec "$("$1/testbench/tools.sh" seed)/$2" "${@:3}""#, "sh", home, interpreter])
        .args(arguments)
        .envs(place.settings())
        .env("BUCKETHEAD_KEY", key)
        // Its tables are as wide as the terminal.
        .env("COLUMNS", "200")
        .env_remove("AWS_CA_BUNDLE")
        .stderr(Stdio::piped())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Our own; answers with what it prints.
async fn command(arguments: &[&str], place: &Place) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buckethead"));
    let output = command.args(arguments).envs(place.settings()).env("BUCKETHEAD_KEY", KEY).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_command_lines_read_what_the_other_wrote() {
    let place = Place::create(ServedBy::Minio, "seed-commands").await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("ours.txt"), "of ours").unwrap();
    command(&["sql", "--write", "create table written(x integer); insert into written values (1), (2), (3)"], &place).await;
    command(&["kv", "set", "greeting", "grüße"], &place).await;
    command(&["docs", "insert", "people", r#"{"_id": "1", "name": "Ada"}"#], &place).await;
    let key = command(&["files", "put", &at("ours.txt"), "--type", "text/plain"], &place).await.trim().to_owned();
    // The plain file is what the package knows.
    command(&["flush"], &place).await;

    let inspected = seeds_command(&["inspect"], &place).await;
    for line in [("written", "3"), ("bh_kv", "1"), ("bh_docs", "1"), ("filestore", "1")] {
        assert!(inspected.lines().any(|text| text.contains(line.0) && text.contains(line.1)), "{line:?}: {inspected}");
    }
    assert!(seeds_command(&["files", "list"], &place).await.contains(&key[..12]));
    seeds_command(&["files", "get", &key, &at("back.txt")], &place).await;
    assert_eq!(std::fs::read_to_string(at("back.txt")).unwrap(), "of ours");
    seeds_command(&["restore", &at("theirs.db")], &place).await;
    let rows = |path: &str| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row("select sum(x) from written", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(&at("theirs.db")), 6);
    seeds_command(&["files", "gc", "--dry-run"], &place).await;

    // The other way round. Its command takes no rows, so its package writes them.
    let theirs = seed("files.py", &["put", "of the seed"], &place, KEY).await;
    let theirs = theirs.as_str().unwrap();
    // What it put there shows once somebody has the branch again: whoever only looks takes nobody's work for ours.
    command(&["flush"], &place).await;
    assert!(command(&["inspect"], &place).await.contains("filestore"));
    assert!(command(&["files", "list"], &place).await.contains(theirs));
    command(&["files", "get", theirs, &at("theirs.txt")], &place).await;
    assert_eq!(std::fs::read_to_string(at("theirs.txt")).unwrap(), "of the seed");
    command(&["restore", &at("ours.db")], &place).await;
    assert_eq!(rows(&at("ours.db")), 6);
    let report: Value = serde_json::from_str(&command(&["files", "gc", "--dry-run", "--output", "json"], &place).await).unwrap();
    assert_eq!(report["dangling"], json!(0), "{report}");
}

#[tokio::test]
async fn a_snapshot_of_the_packages_newest_version_is_read() {
    let place = Place::create(ServedBy::Minio, "seed-newest").await;
    let script = format!("{}/tests/it/seed/newest.py", env!("CARGO_MANIFEST_DIR"));
    let printed = python("python-newest", &[&script], &place, KEY).await;
    // It tells people of its session, too.
    let wrote: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(command(&["kv", "get", "greeting"], &place).await.trim(), "grüße");
    let document: Value = serde_json::from_str(&command(&["docs", "get", "people", "1"], &place).await).unwrap();
    assert_eq!(document, json!({"name": "Ada", "_id": "1"}));
    assert_eq!(command(&["files", "get", wrote["file"].as_str().unwrap(), "-"], &place).await, "hello");
    let inspected = command(&["inspect"], &place).await;
    for table in wrote["tables"].as_array().unwrap() {
        assert!(inspected.contains(table.as_str().unwrap()), "{table}: {inspected}");
    }
    // And changed, and still what the package reads.
    command(&["kv", "set", "greeting", "hello"], &place).await;
    command(&["sql", "--write", "create table written(x integer, y blob); insert into written values (1, x'ff')"], &place).await;
    command(&["flush"], &place).await;
    assert_eq!(seed("read.py", &[], &place, KEY).await, json!({"rows": [[1, "ff"]], "greeting": "hello"}));
}
