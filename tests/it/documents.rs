//! What the README and `docs/start.md`, `backup.md`, `cli.md`, `sizing.md`, `migration.md` and `python.md` tell a reader to type, typed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{
    Dev, Folders, Namespace, Operator, Place, Program, Resource, ServedBy, Signal, adapted, blocks, document, printed, program, script,
};

/// Where the pages say that a server is.
const SHOWN: &str = "http://127.0.0.1:8080";
/// What the key of the page's database is: its last part names the database.
const KEY: &str = "shared/app.db";

/// What a block prints is told from what the next one does.
const BETWEEN: &str = "print('---')\n";

/// What the examples on commands speak of: a database that nobody has, another one that is served, files. Prints a state of both, and a moment.
const BEFORE_EXAMPLES: &str = r#"
mkdir -p .zfunc .config/fish/completions photos
printf hello > photo.jpg
echo 'create table migrated (x)' > migrate.sql
echo '[{"_id": "bob", "name": "Bob", "age": 20}]' > people.json
there() { buckethead "$@" --bucket orders-data --key apps/orders.db > /dev/null; }
there sql --write 'create table orders (id integer primary key); insert into orders values (1)'
there kv set greeting hello
there docs insert people '{"_id": "ada"}'
there files put photo.jpg
there branches create next
export BUCKETHEAD_URL=http://127.0.0.1:8080/default/quickstart
for table in t u v w x y z; do buckethead sql "create table $table (id, x)" > /dev/null; done
buckethead branches create release-7 > /dev/null
buckethead status --bucket orders-data --key apps/orders.db --output json
date --utc +%FT%T.%3NZ
"#;
/// The example that opens a shell.
const SHELL: &str = "buckethead sql --url http://127.0.0.1:8080/default/quickstart";

async fn tools(name: &str) -> String {
    let home = env!("CARGO_MANIFEST_DIR");
    let found = Command::new("bash").args(["-c", r#"exec "$1/testbench/tools.sh" "$2""#, "sh", home, name]).output().await.unwrap();
    assert!(found.status.success(), "{found:?}");
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A `PATH` on which `buckethead` is the one under test, and which has these folders besides.
fn path(home: &Path, more: &[&str]) -> String {
    let bin = home.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_buckethead"), bin.join("buckethead")).unwrap();
    let inherited = std::env::var("PATH").unwrap();
    let mut folders = vec![bin.to_str().unwrap()];
    folders.extend(more);
    folders.push(&inherited);
    folders.join(":")
}

/// The commands of a page, but for those that a comment marks: for a cluster, or begun by the test itself.
fn commands(page: &str) -> String {
    let typed = blocks(page).into_iter().filter(|block| block.language == "sh" && block.mark.is_none());
    typed.fold("set -euo pipefail\n".to_owned(), |commands, block| commands + &block.text)
}

#[tokio::test]
async fn whoever_follows_the_readme_has_rows_keys_and_documents_in_one_database() {
    let home = TempDir::new().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let dev = Dev::start(&examples, &home.path().join("data"), "standard").await;
    let commands = commands(&document("README.md")).replace(SHOWN, &dev.api);
    let bash = Command::new("bash").args(["-c", &commands]).current_dir(home.path()).env("no_proxy", "*").output();
    let printed = said(&bash.await.unwrap());
    for found in [r#""rows":[[1,"hello"]]"#, "Ada", r#""age":36"#] {
        assert!(printed.contains(found), "{printed}");
    }
    dev.program.end(Signal::Int).await;
}

#[tokio::test]
async fn whoever_follows_the_ten_minutes_branches_promotes_goes_back_and_leaves() {
    // As the page calls them.
    let (namespace, place) = (Namespace::create("apps").await, Place::create(ServedBy::Minio, "orders-data").await);
    let operator = Operator::start(&namespace).await;
    let home = TempDir::new().unwrap();
    let account = &place.account;
    let changes = [
        ("kubectl create namespace apps\n", String::new()),
        ("namespace/apps created\n", String::new()),
        ("https://minio.storage:9000", format!("{}\n  region: {}", account.endpoint, account.region)),
        ("AWS_ACCESS_KEY_ID=change-me", format!("AWS_ACCESS_KEY_ID={}", account.access_key_id)),
        ("AWS_SECRET_ACCESS_KEY=change-me", format!("AWS_SECRET_ACCESS_KEY={}", account.secret_access_key)),
        (SHOWN, operator.api.clone()),
    ];
    let (script, shown) = script(&adapted(document("docs/start.md"), changes));
    let mut bash = namespace.shell(&format!("set -euo pipefail\n{script}"));
    bash.current_dir(home.path()).env("HOME", home.path()).env("no_proxy", "*");
    // Lines of CSV end as its standard has it.
    let all = said(&bash.output().await.unwrap()).replace("\r\n", "\n");
    assert_eq!(printed(&all), shown);
    operator.end().await;
    let kept = place.find("apps/orders.db.branch.with-the-mistake").await;
    assert!(kept.is_some(), "what is deleted leaves the cluster, and not the bucket");
}

#[tokio::test]
async fn whoever_follows_the_page_on_backup_has_the_rows_by_us_by_litestream_in_a_copy_and_at_another_key() {
    let (place, copy) = (Place::create(ServedBy::Minio, "backup").await, Place::create(ServedBy::Minio, "backup-copy").await);
    let folders = Folders::with(&Resource::credentials(&place.account));
    folders.declare("orders.yaml", &Resource::streaming("orders", &place, "apps/orders.db", "100ms"));
    let dev = folders.start("standard").await;
    let orders = dev.database("orders");
    orders.sql("create table items (name)").await;
    orders.sql("insert into items values ('cup')").await;
    let photo = orders.put_file("of a cup", "photo").await;
    dev.program.end(Signal::Int).await;

    let home = TempDir::new().unwrap();
    let path = path(home.path(), &[&tools("litestream").await, &tools("aws").await]);
    let commands = commands(&document("docs/backup.md")).replace("orders-data", &place.bucket).replace("orders-copy", &copy.bucket);
    let mut bash = Command::new("bash");
    bash.args(["-c", &commands]).current_dir(home.path()).envs(place.settings()).envs(place.settings_of_aws()).env("HOME", home.path());
    bash.env("PATH", &path).env("no_proxy", "*").env_remove("BUCKETHEAD_URL").env_remove("AWS_CA_BUNDLE");
    let printed = said(&bash.output().await.unwrap());
    assert_eq!(printed.lines().filter(|line| *line == "ok").count(), 2, "{printed}");
    for file in ["orders.db", "by-litestream.db"] {
        let connection = rusqlite::Connection::open(home.path().join(file)).unwrap();
        assert_eq!(connection.query_row("select name from items", [], |row| row.get::<_, String>(0)).unwrap(), "cup", "{file}");
    }
    assert!(home.path().join("earlier.db").exists());

    let folders = Folders::with(&Resource::credentials(&place.account));
    folders.declare("brought.yaml", &Resource::streaming("brought", &place, "apps/brought.db", "100ms"));
    folders.declare("copied.yaml", &Resource::streaming("copied", &copy, "apps/orders.db", "100ms"));
    let dev = folders.start("standard").await;
    for name in ["brought", "copied"] {
        assert_eq!(dev.database(name).sql("select name from items").await, json!([["cup"]]), "{name}");
    }
    let copied = dev.database("copied").get_file(photo["bh_key"].as_str().unwrap()).await;
    assert_eq!(copied, (200, "of a cup".to_owned()));
    dev.program.end(Signal::Int).await;
}

#[tokio::test]
async fn the_examples_on_commands_run_on_a_server_and_on_a_bucket() {
    let (place, served) = (Place::create(ServedBy::Minio, "examples").await, Place::create(ServedBy::Minio, "examples-served").await);
    let folders = Folders::with(&Resource::credentials(&place.account));
    let quickstart = Resource::synced("quickstart", &served, "quickstart.db").with("/spec/api", json!({"branches": "Write"}));
    folders.declare("quickstart.yaml", &quickstart);
    let dev = folders.start("standard").await;
    let home = TempDir::new().unwrap();
    let path = path(home.path(), &[]);
    let run = async |script: &str| {
        let script = script.replace("orders-data", &place.bucket).replace(SHOWN, &dev.api);
        let script = script.replace("http://minio.storage:9000", &place.account.endpoint);
        let mut bash = Command::new("bash");
        bash.args(["-euxo", "pipefail", "-c", &script]).current_dir(home.path()).stdin(Stdio::null()).envs(place.settings());
        bash.env("HOME", home.path())
            .env("PATH", &path)
            .env("AWS_REGION", &place.account.region)
            .env("no_proxy", "*")
            .env_remove("AWS_CA_BUNDLE");
        said(&bash.output().await.unwrap())
    };
    let known = run(BEFORE_EXAMPLES).await;
    let (status, moment) = known.trim_end().rsplit_once('\n').unwrap();
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    let txid = status["txid"].as_u64().unwrap();

    // What takes minutes has tests of its own.
    let takes_minutes =
        |line: &str| ["run", "report"].iter().any(|end| line.contains(&format!("bench {end}")) || line.contains(&format!("stress {end}")));
    let examples = blocks(&document("docs/cli.md")).into_iter().filter(|block| block.language == "sh").map(|block| block.text);
    let examples = examples.collect::<String>();
    let typed = examples.lines().filter(|line| !takes_minutes(line)).map(|line| {
        // One state has come by then.
        let line = line.replace("--expected-txid 1204", &format!("--expected-txid {}", txid + 1));
        let line = line.replace("1204", &txid.to_string()).replace("2026-11-23T08:00:00Z", moment).replace("| less", "| cat");
        // Nobody types into a shell.
        if line == SHELL { format!("echo 'select 1' | {line}\n") } else { line + "\n" }
    });
    let script = format!("export BUCKETHEAD_URL={SHOWN}/default/quickstart\n{}", typed.collect::<String>());
    assert!(script.lines().count() > 50, "{script}");
    run(&script).await;
    for file in [
        "t.csv",
        "copy.jpg",
        "orders.db",
        "next.db",
        "before.db",
        "now.db",
        "buckethead-report.tar.gz",
        "orders.tar.gz",
        ".zfunc/_buckethead",
    ] {
        assert!(home.path().join(file).exists(), "{file}");
    }
    dev.program.end(Signal::Int).await;
}

#[tokio::test]
async fn whoever_follows_the_page_on_sizing_is_told_a_bill() {
    let home = TempDir::new().unwrap();
    let path = path(home.path(), &[]);
    let commands = commands(&document("docs/sizing.md"));
    let bash = Command::new("bash").args(["-c", &commands]).current_dir(home.path()).env("PATH", &path).output();
    let printed = said(&bash.await.unwrap());
    assert!(printed.contains("AWS S3 Standard, us-east-1"), "{printed}");
    let told: serde_json::Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert!(told["month"]["class_a"].as_f64().unwrap() > 0.0, "{told}");
}

#[tokio::test]
async fn whoever_follows_the_page_on_python_sees_what_it_shows() {
    let home = TempDir::new().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let dev = Dev::start(&examples, &home.path().join("data"), "standard").await;
    let (program, shown) = program(&document("docs/python.md"), "python", BETWEEN);
    let site = format!("{}/site", tools("clients").await);
    let python = Command::new("python3")
        .args(["-c", &program])
        .env("PYTHONPATH", site)
        .env("PYTHONIOENCODING", "utf-8")
        .env("BUCKETHEAD_URL", format!("{}/default/quickstart/", dev.api))
        .env("no_proxy", "*")
        .env_remove("BUCKETHEAD_TOKEN")
        .env_remove("AWS_CA_BUNDLE")
        .stdin(Stdio::null())
        .output();
    let printed = said(&python.await.unwrap());
    let printed: Vec<_> = printed.split("---\n").skip(1).collect();
    assert_eq!(printed, shown);
    dev.program.end(Signal::Int).await;
}

#[tokio::test]
async fn whoever_follows_the_page_on_migration_finds_their_data_and_goes_back_with_it() {
    let place = Place::create(ServedBy::Minio, "migration").await;
    let seed = format!("{}/python", tools("seed").await);
    let of_package = |name: &str| {
        let mut python = Command::new(&seed);
        python.arg(format!("{}/tests/it/seed/{name}", env!("CARGO_MANIFEST_DIR"))).envs(place.settings());
        python.env("BUCKETHEAD_KEY", KEY).env_remove("AWS_CA_BUNDLE");
        python
    };
    said(&of_package("write.py").output().await.unwrap());

    let home = TempDir::new().unwrap();
    let path = path(home.path(), &[]);
    let (mut serving, mut api) = (None, String::new());
    // Each block goes on in the shell of those before it; of that the variables are left.
    let mut settings = String::new();
    for block in blocks(&document("docs/migration.md")) {
        if block.mark.as_deref() == Some("serve") {
            assert_eq!(block.text, "buckethead dev --from-env\n");
            let data = home.path().join("data");
            let data = data.to_str().unwrap();
            let settings = place.settings();
            let environment: Vec<_> = settings.iter().copied().chain([("BUCKETHEAD_KEY", KEY)]).collect();
            let arguments = ["dev", "--from-env", "--data", data].map(OsStr::new);
            let mut program = Program::start_with(&arguments, &environment);
            api = program.api().await;
            serving = Some(program);
            continue;
        }
        let commands = block.text.replace(SHOWN, &api);
        let mut bash = Command::new("bash");
        bash.args(["-euc", &format!("{settings}{commands}")]).current_dir(home.path()).envs(place.settings());
        bash.env("BUCKETHEAD_KEY", KEY).env("PATH", &path).env("no_proxy", "*").env_remove("BUCKETHEAD_URL");
        let printed = said(&bash.output().await.unwrap());
        settings.extend(commands.lines().filter(|line| line.starts_with("export ")).map(|line| format!("{line}\n")));
        if commands.contains("kv get greeting") {
            for found in ["[[1]]", "grüße", "Ada"] {
                assert!(printed.contains(found), "{printed}");
            }
        }
    }
    serving.unwrap().end(Signal::Int).await;
    // The package finds it as it was, and so does everybody else.
    assert!(said(&of_package("read.py").output().await.unwrap()).contains("9007199254740993"));
    for file in ["copy.db", "back.db"] {
        let connection = rusqlite::Connection::open(home.path().join(file)).unwrap();
        assert_eq!(connection.query_row("select count(*) from written", [], |row| row.get::<_, i64>(0)).unwrap(), 1, "{file}");
    }
}
