use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    target: TargetArguments,
}

fn settings(arguments: &str, env: &[(&str, &str)]) -> Result<Target, String> {
    let line = Line::try_parse_from(std::iter::once("x").chain(arguments.split_whitespace())).map_err(|error| error.to_string())?;
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    line.target.settings(env).map_err(|error| error.to_string())
}

const KEYS: [(&str, &str); 3] = [("R2_ACCESS_KEY_ID", "id"), ("R2_SECRET_ACCESS_KEY", "secret"), ("R2_ENDPOINT_URL", "http://minio:9000")];

#[test]
fn a_server_is_asked_if_one_is_named_and_a_bucket_otherwise() {
    let server = |target: &Target| target.to_string() == "http://h:1/apps/orders/";
    assert!(server(&settings("--url http://h:1/apps/orders", &[]).unwrap()));
    let named = [&KEYS[..], &[("BUCKETHEAD_URL", "http://h:1/apps/orders/"), ("R2_BUCKET", "data")]].concat();
    assert!(server(&settings("", &named).unwrap()));
    for arguments in ["--bucket data", "--key apps/orders.db --bucket data"] {
        assert!(settings(arguments, &named).unwrap().to_string().ends_with(" in bucket data, branch main"), "{arguments}");
    }
    let of_env = [&KEYS[..], &[("R2_BUCKET", "data"), ("BUCKETHEAD_KEY", "k.db"), ("BUCKETHEAD_BRANCH", "next")]].concat();
    assert_eq!(settings("", &of_env).unwrap().to_string(), "k.db in bucket data, branch next");
}

#[test]
fn what_is_missing_or_cannot_be_is_named() {
    for (arguments, env, named) in [
        ("", &[][..], "BUCKETHEAD_URL (or --url)"),
        ("", &[][..], "R2_BUCKET (or --bucket)"),
        ("--url h:1/apps", &[], "--url"),
        ("--url ftp://h/apps/orders", &[], "ftp://"),
        ("--url http://h/a/b?x=1", &[], "query"),
        ("--url http://h/a/b --bucket data", &[], "--bucket"),
        ("--url http://h/a/b --txid 0", &[], "--txid"),
        ("--url http://h/a/b --at yesterday", &[], "--at"),
        ("--url http://h/a/b --token-file /nowhere/at/all", &[], "--token-file"),
        ("--bucket data --files-prefix /", &KEYS, "--files-prefix"),
    ] {
        let problem = settings(arguments, env).unwrap_err();
        assert!(problem.contains(named), "{arguments}: {problem}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let target = settings("--url http://me:secret@h:1/apps/orders", &[("BUCKETHEAD_TOKEN", "hidden")]).unwrap();
    assert_eq!(target.to_string(), "http://h:1/apps/orders/");
}

#[test]
fn clients_of_libsql_may_hand_their_url_on() {
    assert_eq!(settings("--url libsql://h/apps/orders", &[]).unwrap().to_string(), "https://h/apps/orders/");
}

#[test]
fn whatever_a_part_of_a_path_has_it_stays_one_part() {
    for (text, encoded) in [("a/b", "a%2Fb"), ("a b?c#d", "a%20b%3Fc%23d"), ("ä", "%C3%A4"), ("..", "%2E%2E"), ("a.b-c_~", "a.b-c_~")] {
        assert_eq!(segment(text), encoded);
    }
    assert_eq!(query([("a", Some("1 2".to_owned())), ("b", None)]), "?a=1+2");
    assert_eq!(query([("b", None)]), "");
}
