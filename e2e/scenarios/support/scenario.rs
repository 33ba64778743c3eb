//! One scenario: its namespaces, and the ways to ask the cluster.
//!
//! Invariant: a scenario that failed has saved what it saw before another one takes its turn, and no operator of it runs on.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::Database;
use super::manifest::Resource;
use super::record::Record;
use super::release::Release;
use super::store::Store;

/// The checkout: charts and examples are used as they lie there.
pub(super) const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// So many scenarios may run at once; `e2e/run.sh` has the harness begin as many.
const AT_ONCE: u32 = 3;

static CLUSTER: Semaphore = Semaphore::const_new(AT_ONCE as usize);

/// How often what is done again and again is done: `BUCKETHEAD_E2E_ROUNDS`, which `make deep PART=e2e` raises.
pub(crate) fn rounds() -> usize {
    std::env::var("BUCKETHEAD_E2E_ROUNDS").map_or(1, |rounds| rounds.parse().expect("BUCKETHEAD_E2E_ROUNDS is a number"))
}

/// A scenario that runs.
pub(crate) struct Scenario {
    /// The name of its file, and of the namespace in which its databases are declared.
    pub(crate) name: &'static str,
    pub(super) record: Record,
    folder: PathBuf,
    _turn: SemaphorePermit<'static>,
}

impl Scenario {
    /// Makes the namespaces of databases and operator, a bucket with its Secret, and a Pod from which the databases are used. Everything in
    /// either namespace obeys the `PodSecurity` standard `restricted`.
    pub(crate) async fn begin(name: &'static str) -> Self {
        Self::begin_with(name, 1).await
    }

    /// The same when no other scenario is under way, and none begins until it is over.
    pub(crate) async fn begin_alone(name: &'static str) -> Self {
        Self::begin_with(name, AT_ONCE).await
    }

    async fn begin_with(name: &'static str, turns: u32) -> Self {
        let turn = CLUSTER.acquire_many(turns).await.unwrap();
        let folder = PathBuf::from(HOME).join("target/e2e").join(name);
        let scenario = Self { name, record: Record::begin(&folder), folder, _turn: turn };
        scenario.store().create_bucket().await;
        scenario.prepare().await;
        scenario
    }

    /// What a cluster has before there is an operator: the namespaces, the Secret of the bucket, and the client.
    pub(crate) async fn prepare(&self) {
        let namespaces = [Resource::namespace(self.name), Resource::namespace(&self.operator_namespace())];
        self.apply(&Resource::list(namespaces.into_iter().chain([Resource::client_account(), Resource::client()]))).await;
        self.apply(&Resource::credentials()).await;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]).await;
    }

    /// Takes away what could meet the next scenario, and tells how long it took.
    pub(crate) async fn end(self) {
        self.kubectl(&["delete", "bucketdatabases", "--all", "--timeout=60s"]).await;
        Release::of(&self).uninstall().await;
        self.kubectl(&["delete", "namespace", "--wait=false", "--ignore-not-found", self.name, &self.operator_namespace()]).await;
        self.tell(&format!("{:.1} s in all", self.record.elapsed().as_secs_f32()));
    }

    /// Tells how long something took that others promise a time for: `e2e/run.sh` puts all of them together.
    pub(crate) fn took(&self, what: &str, time: Duration) {
        let line = format!("{:.1} s {what}", time.as_secs_f32());
        let mut times = File::options().create(true).append(true).open(self.folder.join("times.txt")).unwrap();
        writeln!(times, "{line}").unwrap();
        self.tell(&line);
    }

    /// Past the test harness, which keeps what a passing test prints.
    fn tell(&self, figure: &str) {
        std::io::stdout().write_all(format!("{}: {figure}\n", self.name).as_bytes()).unwrap();
    }

    /// Ends the processes of a Pod by SIGKILL.
    pub(crate) async fn kill(&self, pod: &str) {
        self.apply_in("default", &Resource::killer(self.name, pod)).await;
    }

    /// The same for processes that come in their place, until [`Scenario::stop_killing`].
    pub(crate) async fn kill_without_end(&self, pod: &str) {
        self.apply_in("default", &Resource::killer_without_end(self.name, pod)).await;
    }

    pub(crate) async fn stop_killing(&self) {
        self.kubectl_in("default", &["delete", "pod", &Resource::killer_name(self.name)]).await;
    }

    /// Restarts a program of the node as the node's own init would: containers run on.
    pub(crate) async fn restart(&self, program: &str) {
        let said = self.record.run(&format!("{HOME}/e2e/cluster.sh"), &["restart", program], "").await;
        said.unwrap_or_else(|refusal| panic!("{program}: {refusal}"));
    }

    /// Where the operator runs. It is not where the databases are declared, as with most users.
    pub(crate) fn operator_namespace(&self) -> String {
        format!("{}-operator", self.name)
    }

    /// The scenario's bucket.
    pub(crate) fn store(&self) -> Store<'_> {
        Store::of(self)
    }

    /// Runs `kubectl` in the namespace of the databases.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_in(self.name, arguments).await
    }

    /// Runs `kubectl` in another namespace.
    pub(crate) async fn kubectl_in(&self, namespace: &str, arguments: &[&str]) -> String {
        let answer = self.try_kubectl(namespace, arguments, "").await;
        String::from_utf8(answer.unwrap_or_else(|refusal| panic!("kubectl {arguments:?}: {refusal}"))).unwrap()
    }

    /// `Err` holds what `kubectl` said.
    pub(crate) async fn try_kubectl(&self, namespace: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, String> {
        self.record.run("kubectl", &[&["--namespace", namespace], arguments].concat(), input).await
    }

    /// From now on the client believes whom this authority has signed.
    pub(crate) async fn trust(&self, authority: &str) {
        // By an argument: what a program that ends at once reads of its input may be nothing, and nobody is told.
        let write = format!("printf %s \"$1\" > {}", Resource::AUTHORITIES);
        self.kubectl(&["exec", "client", "--", "sh", "-c", &write, "sh", authority]).await;
    }

    pub(crate) async fn apply(&self, resource: &Resource) {
        self.apply_in(self.name, resource).await;
    }

    pub(crate) async fn apply_in(&self, namespace: &str, resource: &Resource) {
        self.try_kubectl(namespace, &["apply", "--filename", "-"], &resource.yaml()).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    /// Waits for what `kubectl wait` can wait for: the condition, or a JSON path with its value.
    pub(crate) async fn wait(&self, object: &str, what: &str) {
        self.wait_in(self.name, object, what).await;
    }

    pub(crate) async fn wait_in(&self, namespace: &str, object: &str, what: &str) {
        self.kubectl_in(namespace, &["wait", object, &format!("--for={what}"), "--timeout=60s"]).await;
    }

    /// Waits until a condition of a database has this reason; answers with its message.
    pub(crate) async fn wait_reason(&self, database: &str, condition: &str, reason: &str) -> String {
        let object = format!("bucketdatabase/{database}");
        let path = |field: &str| format!("{{.status.conditions[?(@.type==\"{condition}\")].{field}}}");
        self.wait(&object, &format!("jsonpath={}={reason}", path("reason"))).await;
        self.kubectl(&["get", &object, &format!("--output=jsonpath={}", path("message"))]).await
    }

    /// Runs the commands of a guide's section as they are written, but for the namespace; answers with what they print.
    pub(crate) async fn follow(&self, guide: &str, section: &str) -> String {
        let text = std::fs::read_to_string(format!("{HOME}/docs/{guide}.md")).unwrap();
        let commands = commands(&text, section).replace("-n apps", &format!("-n {}", self.name));
        let commands = commands.replace(".apps.svc", &format!(".{}.svc", self.name)).replace("=apps:", &format!("={}:", self.name));
        assert!(!commands.is_empty(), "docs/{guide}.md has no commands under {section:?}");
        let printed = self.shell(&commands).await;
        printed.unwrap_or_else(|refusal| panic!("docs/{guide}.md, {section}: {refusal}"))
    }

    /// Runs the plugin of kubectl in the namespace of the databases.
    pub(crate) async fn plugin(&self, arguments: &str) -> Result<String, String> {
        self.shell(&format!("kubectl buckethead --namespace {} {arguments}", self.name)).await
    }

    /// Runs commands as somebody types them who has the plugin installed; what they write lies beside the record.
    pub(crate) async fn shell(&self, commands: &str) -> Result<String, String> {
        let (folder, program) = (self.folder.display(), env!("CARGO_BIN_EXE_buckethead"));
        let installed = format!("cd '{folder}'; mkdir -p bin; ln -sf '{program}' bin/kubectl-buckethead; PATH=$PWD/bin:$PATH\n{commands}");
        let printed = self.record.run("bash", &["-euo", "pipefail", "-c", &installed], "").await?;
        Ok(String::from_utf8(printed).unwrap())
    }

    pub(crate) async fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "--output=json"]).await).unwrap()
    }

    /// Declares a database, waits until it is ready, and connects to it.
    pub(crate) async fn serve(&self, resource: &Resource) -> Database<'_> {
        self.apply(resource).await;
        self.wait(&format!("bucketdatabase/{}", resource.name()), "condition=Ready").await;
        Database::connect(self, resource.name()).await
    }
}

/// What stands in the blocks of `sh` under a heading.
fn commands(guide: &str, section: &str) -> String {
    let sections = guide.split("\n## ");
    let section = sections.filter_map(|part| part.split_once('\n')).find_map(|(heading, text)| (heading == section).then_some(text));
    let blocks = section.unwrap_or_default().split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect()
}

impl Drop for Scenario {
    #[allow(clippy::print_stderr, reason = "the scenario has failed, and this says where to read why")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // Nothing in here may panic: it would hide the failure that is told already.
        let run = |program: &str, arguments: &[&str]| Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let (after, folder) = (self.record.elapsed().as_secs_f32(), self.folder.display().to_string());
        let collected = run(&format!("{HOME}/e2e/cluster.sh"), &["collect", &folder]);
        let uninstalled = run("helm", &["uninstall", Release::NAME, "--namespace", &self.operator_namespace(), "--wait", "--timeout=60s"]);
        eprintln!("failed after {after:.1} s; what it did, and what the cluster held then, is in {folder}");
        for problem in [collected, uninstalled].into_iter().filter_map(Result::err) {
            eprintln!("{problem}");
        }
    }
}
