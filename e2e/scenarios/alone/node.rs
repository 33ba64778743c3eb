//! The node's own programs are restarted under load, as an upgrade of its packages does it. Containers run on meanwhile.

use serde_json::{Value, json};

use crate::support::{Load, Release, Resource, Scenario, rounds};

/// Which containers the operator's Pod has had, and whether it is in use.
async fn containers(release: &Release<'_>) -> Value {
    let pod = format!("pod/{}", release.pod().await);
    let pod: Value = serde_json::from_str(&release.kubectl(&["get", &pod, "--output=json"]).await).unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    json!([pod["metadata"]["uid"], status["containerID"], status["restartCount"]])
}

#[tokio::test]
async fn databases_go_on_while_containerd_and_the_kubelet_are_restarted() {
    let scenario = Scenario::begin_alone("node").await;
    let release = Release::install(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    let before = containers(&release).await;
    for _ in 0..rounds() {
        for program in ["containerd", "kubelet"] {
            let load = Load::begin(&database, "load").await;
            scenario.restart(program).await;
            // By way of both, so they work again.
            load.goes_on().await;
            let written = load.end().await;
            scenario.took(&format!("{program} restarted: the longest wait for an answer, of {} rows", written.rows), written.longest);
        }
        for condition in ["condition=Ready", "condition=ContainersReady"] {
            release.wait_pod(condition).await;
        }
        assert_eq!(containers(&release).await, before, "the same process has it");
    }
    scenario.kubectl(&["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=60s"]).await;
    scenario.end().await;
}
