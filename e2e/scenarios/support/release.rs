//! A release of the chart, as a user of Helm makes it.

use std::path::Path;

use tokio::sync::Mutex;

use super::scenario::{HOME, Scenario};
use super::wait::until;

/// Helm changes a release by one command at a time, and scenarios share that of the definition.
static DEFINITION: Mutex<()> = Mutex::const_new(());

/// The operator of a scenario, in a namespace of its own.
pub(crate) struct Release<'a> {
    scenario: &'a Scenario,
}

impl<'a> Release<'a> {
    /// The chart's own name, so that objects have the names that the README uses.
    pub(super) const NAME: &'static str = "buckethead";

    /// The release of a scenario, whether it is there or not.
    pub(super) fn of(scenario: &'a Scenario) -> Self {
        Self { scenario }
    }

    /// Installs the CRD by its own chart, and an operator that sees the scenario's namespace alone and has no rights on the cluster.
    pub(crate) async fn install(scenario: &'a Scenario) -> Self {
        let release = Self::of(scenario);
        let turn = DEFINITION.lock().await;
        // A release of the other chart may have left the CRD behind.
        let definitions = ["upgrade", "--install", "buckethead-crds", &chart("buckethead-crds"), "--namespace=default", "--take-ownership"];
        release.helm(&definitions).await;
        drop(turn);
        let namespaces = format!("watchNamespaces={{{}}}", scenario.name);
        release.set(&["--set=crds.enabled=false", "--set=rbac.aggregateRoles=false", "--set", &namespaces]).await;
        release
    }

    /// Installs it as the chart is: for all namespaces, with the CRD in it.
    pub(crate) async fn install_for_the_cluster(scenario: &'a Scenario) -> Self {
        let release = Self::of(scenario);
        // The CRD outlives the releases of the scenarios before.
        release.set(&["--take-ownership"]).await;
        release
    }

    /// Installs or upgrades it, and waits until the operator is ready.
    pub(crate) async fn set(&self, arguments: &[&str]) {
        self.set_to(&chart("buckethead"), arguments).await;
    }

    /// The same by another chart than the one in the checkout.
    pub(crate) async fn set_to(&self, chart: &str, arguments: &[&str]) {
        let values = format!("{HOME}/e2e/values.yaml");
        let command = ["upgrade", "--install", Self::NAME, chart, "--values", &values, "--wait", "--timeout=120s"];
        self.helm(&[&command, arguments].concat()).await;
    }

    /// Packs the chart of the checkout as another version of it; answers with the file.
    pub(crate) async fn pack(&self, version: &str, folder: &Path) -> String {
        let place = folder.to_str().unwrap();
        let versions = ["--version", version, "--app-version", version, "--destination", place];
        self.helm(&[&["package", &chart("buckethead")], &versions[..]].concat()).await;
        format!("{place}/{}-{version}.tgz", Self::NAME)
    }

    /// Goes back to the revision before.
    pub(crate) async fn roll_back(&self) {
        self.helm(&["rollback", Self::NAME, "--wait", "--timeout=120s"]).await;
    }

    /// Which version of the chart is installed, and the image of its Pods.
    pub(crate) async fn version(&self) -> String {
        let version = r#"{{index .metadata.labels "helm.sh/chart"}} {{(index .spec.template.spec.containers 0).image}}"#;
        self.kubectl(&["get", "deployment/buckethead", &format!("--output=go-template={version}")]).await
    }

    /// Ends the operator, which saves everything first, and waits for that.
    pub(crate) async fn uninstall(&self) {
        self.helm(&["uninstall", Self::NAME, "--ignore-not-found", "--wait", "--timeout=120s"]).await;
        self.kubectl(&["wait", "pods", "--all", "--for=delete", "--timeout=60s"]).await;
    }

    /// Runs `kubectl` where the operator is.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.scenario.kubectl_in(&self.scenario.operator_namespace(), arguments).await
    }

    /// Waits until something holds of the operator's Pod.
    pub(crate) async fn wait_pod(&self, what: &str) {
        let pod = format!("pod/{}", self.pod().await);
        self.scenario.wait_in(&self.scenario.operator_namespace(), &pod, what).await;
    }

    /// Waits until the first process of a Pod was ended, and another one takes its place.
    pub(crate) async fn wait_killed(&self, pod: &str) {
        let what = "jsonpath={.status.containerStatuses[0].restartCount}=1";
        self.scenario.wait_in(&self.scenario.operator_namespace(), &format!("pod/{pod}"), what).await;
    }

    /// The name of the operator's only Pod that does not end.
    pub(crate) async fn pod(&self) -> String {
        let pods = self.pods().await;
        let [pod] = &pods[..] else { panic!("one Pod: {pods:?}") };
        pod.clone()
    }

    /// The names of the operator's Pods that do not end.
    pub(crate) async fn pods(&self) -> Vec<String> {
        let template = "--output=go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}";
        self.kubectl(&["get", "pods", template]).await.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until as many Pods are ready as there should be, and none besides is left.
    pub(crate) async fn rolled_out(&self) {
        self.kubectl(&["rollout", "status", "deployment/buckethead", "--timeout=120s"]).await;
        let template = "--output=go-template={{range .items}}{{if .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}";
        until("no Pod that ends is left", async || self.kubectl(&["get", "pods", template]).await.trim().is_empty().then_some(())).await;
    }

    async fn helm(&self, arguments: &[&str]) {
        let namespace = self.scenario.operator_namespace();
        let answer = self.scenario.record.run("helm", &[arguments, &["--namespace", &namespace]].concat(), "").await;
        answer.unwrap_or_else(|refusal| panic!("helm {arguments:?}: {refusal}"));
    }
}

fn chart(name: &str) -> String {
    format!("{HOME}/charts/{name}")
}
