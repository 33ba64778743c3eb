//! `docs/start.md` in a real cluster, as a stranger follows it: from Helm's command to a plain SQLite file.

use std::net::{Ipv4Addr, TcpListener};

use crate::support::{Scenario, Store, adapted, document, printed, script};

#[tokio::test]
async fn whoever_follows_the_ten_minutes_installs_writes_branches_promotes_goes_back_and_leaves() {
    // The page's own namespace.
    let scenario = Scenario::begin_alone("apps").await;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let changes = [
        // Here is one.
        ("<!-- in a cluster -->\n", String::new()),
        // The definition outlives the releases of the scenarios before.
        (
            "install buckethead charts/buckethead",
            format!("install buckethead {}/charts/buckethead --take-ownership", env!("CARGO_MANIFEST_DIR")),
        ),
        ("image.repository=registry.example/buckethead", "image.repository=buckethead --set image.tag=dev".to_owned()),
        (" --create-namespace", String::new()),
        ("--namespace buckethead", format!("--namespace {}", scenario.operator_namespace())),
        ("kubectl create namespace apps\n", String::new()),
        ("namespace/apps created\n", String::new()),
        ("orders-data", scenario.name.to_owned()),
        ("https://minio.storage:9000", Store::ENDPOINT.to_owned()),
        ("AWS_ACCESS_KEY_ID=change-me", format!("AWS_ACCESS_KEY_ID={}", Store::ACCESS_KEY_ID)),
        ("AWS_SECRET_ACCESS_KEY=change-me", format!("AWS_SECRET_ACCESS_KEY={}", Store::SECRET_ACCESS_KEY)),
        // A reader is slower than the port.
        ("> /dev/null &\n", format!("> /dev/null &\ncurl --silent --output /dev/null --retry 9 --retry-connrefused {url}\n")),
        (" 8080:80", format!(" {port}:80")),
        ("http://127.0.0.1:8080", url.clone()),
    ];
    let (script, shown) = script(&adapted(document("docs/start.md"), changes));
    // Lines of CSV end as its standard has it.
    let all = scenario.shell(&format!("export no_proxy='*'\n{script}")).await.unwrap().replace("\r\n", "\n");
    let printed = printed(&all);
    assert_eq!(printed.len(), shown.len());
    // What Helm and the rollout say is not on the page.
    for (printed, shown) in printed.into_iter().zip(&shown).filter(|(_, shown)| !shown.is_empty()) {
        assert_eq!(printed, *shown);
    }
    scenario.end().await;
}
