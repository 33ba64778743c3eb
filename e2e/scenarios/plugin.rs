//! Databases by `kubectl buckethead`, with the very commands of its guide.

use serde_json::{Value, json};

use crate::support::{DATABASE, Release, Resource, Scenario};

/// Takes the line that is printed for another shell, ends the forwarding as Ctrl-C does, and asks once more.
const FORWARD: &str = r#"
exec 3< <(exec kubectl buckethead port-forward orders -n plugin)
forward=$!
trap 'kill "$forward" 2>/dev/null || true' EXIT
read -r line <&3
eval "$line"
ask() { curl --silent --show-error --fail --header "Authorization: Bearer $BUCKETHEAD_TOKEN" --data 'select item from orders' "${BUCKETHEAD_URL}sql"; }
ask
kill -INT "$forward"
wait "$forward"
! ask
"#;

/// Follows the log from its first line on, until it tells of what happens only then.
const FOLLOW: &str = r#"
exec 3< <(exec kubectl buckethead logs orders -n plugin --follow)
follow=$!
trap 'kill "$follow" 2>/dev/null || true' EXIT
read -r line <&3
kubectl delete bdb orders -n plugin
until [[ $line == *'the resource is gone'* ]]; do read -r line <&3; done
kill -INT "$follow"
wait "$follow"
"#;

#[tokio::test]
async fn a_database_is_looked_at_asked_compared_and_promoted_by_the_plugin_as_its_guide_says() {
    let scenario = Scenario::begin("plugin").await;
    let _release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name);
    let unknown = scenario.plugin("status nobody").await.unwrap_err();
    assert!(unknown.contains("there is no bucketdatabase nobody in the namespace plugin"), "{unknown}");
    let orders = scenario.serve(&resource).await;
    orders.sql("create table orders (id integer primary key, item text); insert into orders values (1, 'tea'), (2, 'milk')").await;
    scenario.follow("branches", "Make a branch").await;
    let preview = scenario.serve(&resource.with("/metadata/name", "preview").with("/spec/branch", "release-7")).await;
    preview.sql("insert into orders values (3, 'salt'); delete from orders where id = 1; create index by_item on orders(item)").await;

    let told = scenario.follow("kubectl", "How a database stands").await;
    for line in ["orders   Ready", "orders in plugin: Ready", "durable    all that is committed", "└─ release-7"] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let told = scenario.follow("kubectl", "Ask it").await;
    for line in ["count(*)", "PRIMARY KEY", "release-7", "uploaded: txid", ": sound"] {
        assert!(told.contains(line), "{line} in\n{told}");
    }

    let told: Value = serde_json::from_str(&scenario.plugin("promote orders release-7 --dry-run --output json").await.unwrap()).unwrap();
    assert_eq!((&told["same"], &told["schema"][0]["name"]), (&json!(false), &json!("by_item")));
    let told = scenario.follow("kubectl", "Promote").await;
    for line in ["+ index by_item", "2 → 2  1      1        0        +3  -1", "branch main has the content of release-7"] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert_eq!(orders.sql("select id from orders").await, json!([[2], [3]]));
    let taken = scenario.plugin("promote orders release-8 --timeout 5").await.unwrap_err();
    assert!(taken.contains("--id"), "{taken}");

    let answer = scenario.shell(FORWARD).await.unwrap();
    assert!(answer.contains(r#"[["milk"],["salt"]]"#), "{answer}");

    assert!(scenario.follow("kubectl", "gc").await.contains("asked as of"));
    let told = scenario.follow("kubectl", "What the operator says of it").await;
    assert!(told.contains("plugin/orders") && told.contains("orders.tar.gz: "), "{told}");
    assert!(!told.contains("plugin/preview") && !told.contains("\n  not "), "nothing is missing, and nothing of others told: {told}");
    let packed = scenario.unpacked("orders.tar.gz").await;
    assert!(packed.contains("resource.json") && packed.contains("logs/"), "{packed}");
    for secret in [scenario.token(DATABASE).await, Resource::SECRET.to_owned()] {
        assert!(!packed.contains(&secret));
    }
    scenario.shell(FOLLOW).await.unwrap();
    scenario.end().await;
}

impl Scenario {
    /// The names of the files in an archive, and all that they hold.
    async fn unpacked(&self, archive: &str) -> String {
        self.shell(&format!("tar -tf {archive}; tar -xOf {archive}")).await.unwrap()
    }

    async fn token(&self, database: &str) -> String {
        self.kubectl(&["get", "secret", &format!("{database}-buckethead"), "--output=go-template={{.data.token | base64decode}}"]).await
    }
}
