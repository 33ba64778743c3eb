//! What `docs/migration.md` and `docs/python.md` tell a reader to type, typed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Dev, Place, Program, ServedBy, Signal, blocks, document, program};

/// Where the pages say that a server is.
const SHOWN: &str = "http://127.0.0.1:8080";
/// What the key of the page's database is: its last part names the database.
const KEY: &str = "shared/app.db";

/// What a block prints is told from what the next one does.
const BETWEEN: &str = "print('---')\n";

async fn script(name: &str) -> String {
    let home = env!("CARGO_MANIFEST_DIR");
    let tools = Command::new("bash").args(["-c", r#"exec "$1/testbench/tools.sh" "$2""#, "sh", home, name]).output().await.unwrap();
    assert!(tools.status.success(), "{tools:?}");
    String::from_utf8(tools.stdout).unwrap().trim().to_owned()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn whoever_follows_the_page_on_python_sees_what_it_shows() {
    let home = TempDir::new().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let dev = Dev::start(&examples, &home.path().join("data"), "standard").await;
    let (program, shown) = program(&document("docs/python.md"), "python", BETWEEN);
    let site = format!("{}/site", script("clients").await);
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
    let seed = format!("{}/python", script("seed").await);
    let of_package = |name: &str| {
        let mut python = Command::new(&seed);
        python.arg(format!("{}/tests/it/seed/{name}", env!("CARGO_MANIFEST_DIR"))).envs(place.settings());
        python.env("BUCKETHEAD_KEY", KEY).env_remove("AWS_CA_BUNDLE");
        python
    };
    said(&of_package("write.py").output().await.unwrap());

    let home = TempDir::new().unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_buckethead"), bin.join("buckethead")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
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
