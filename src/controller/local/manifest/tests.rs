use super::*;

const ORDERS: &str = "
apiVersion: buckethead.dev/v1alpha1
kind: BucketDatabase
metadata: {name: orders}
spec: {bucket: orders-data}
";

#[test]
fn one_file_may_hold_databases_and_secrets_and_what_is_not_for_us() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: apps}\ndata: {a: aGk=}\nstringData: {b: plain}";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: x}";
    let manifest = parse(&format!("---{ORDERS}---\n{secret}\n---\n# nothing\n---\n{service}\n")).unwrap();
    assert_eq!(manifest.databases.len(), 1);
    let data = BTreeMap::from([("a".to_owned(), b"hi".to_vec()), ("b".to_owned(), b"plain".to_vec())]);
    assert_eq!(manifest.secrets, BTreeMap::from([(DatabaseName::new("apps", "s"), data.into())]));
    assert_eq!(manifest.skipped, ["Service"]);
}

#[test]
fn defaults_apply_as_in_a_cluster() {
    let resource = parse(ORDERS).unwrap().databases.remove(0);
    assert_eq!(name_of(&resource), DatabaseName::new("default", "orders"));
    assert_eq!((resource.spec.key.as_str(), resource.spec.branch.as_str()), ("bucketsqlite/snap.db", "main"));
}

#[test]
fn an_empty_file_declares_nothing() {
    assert_eq!(parse("# later\n"), Ok(Manifest::default()));
}

#[test]
fn what_is_wrong_is_named() {
    let spoiled = |from: &str, to: &str| parse(&ORDERS.replace(from, to)).unwrap_err();
    let cases = [
        (parse("a: [").unwrap_err(), "no YAML"),
        (parse("kind: Secret").unwrap_err(), "no `apiVersion`"),
        (parse("apiVersion: v1").unwrap_err(), "no `kind`"),
        (spoiled("name: orders", "labels: {}"), "no `metadata.name`"),
        (spoiled("bucket: orders-data", "key: k"), "bucket"),
        (spoiled("orders-data", "orders-data, interval: soon"), "soon"),
        (spoiled("orders-data", "orders-data, interval: 1s, minInterval: 5s"), "minInterval"),
        (spoiled("orders-data", "orders-data, intervall: 5s"), "no field `spec.intervall`"),
        (spoiled("orders-data", "orders-data, limits: {maxsize: 1Mi}"), "no field `spec.limits.maxsize`"),
        (parse(&format!("{ORDERS}---{ORDERS}")).unwrap_err(), "declared twice"),
    ];
    for (problem, says) in cases {
        assert!(problem.contains(says), "{problem:?} does not say {says:?}");
    }
}
