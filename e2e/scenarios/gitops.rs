//! Data is released by merges: the commands of `docs/gitops.md`, as they are written, on a real cluster.

use crate::support::{Release, Resource, Scenario, document, printed, script};

/// Who commits, the store of the scenarios in the place of the one that the page speaks of, and an application that asks from its Pod,
/// as soon as the node knows where the Service leads.
const BEFORE: &str = r#"cp -r "$CHECKOUT/examples" .
sed -i 's|https://minio.storage:9000|http://minio.minio.svc:9000|; s|orders-data|shop|' examples/gitops/base/orders.yaml
export HOME=$PWD GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@x
BUCKETHEAD=http://buckethead.shop-operator.svc
curl() { kubectl exec --namespace shop client -- curl --retry 9 --retry-connrefused "$@"; }
"#;

#[tokio::test]
async fn merges_release_data_as_the_page_on_gitops_says() {
    // The page's own namespace.
    let scenario = Scenario::begin("shop").await;
    let _release = Release::install(&scenario).await;
    scenario.apply(&Resource::credentials().with("/metadata/name", "orders-bucket")).await;
    let (script, shown) = script(&document("docs/gitops.md"));
    let checkout = env!("CARGO_MANIFEST_DIR");
    let all = scenario.shell(&format!("CHECKOUT='{checkout}'\n{BEFORE}{script}")).await.unwrap();
    assert_eq!(printed(&all), shown);
    scenario.end().await;
}
