use serde_json::json;

use super::*;
use crate::fixtures::{UID, resource};

fn base(url: &str) -> Url {
    Url::parse(url).unwrap()
}

fn secret(token: &str) -> Secret {
    connection_secret(&resource(json!({})), &base("http://buckethead.system.svc"), &Token::new(token))
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    std::str::from_utf8(&secret.data.as_ref().unwrap()[key].0).unwrap()
}

fn stands(found: Option<&Secret>, given: Option<&str>) -> Result<Connection, NotOurs> {
    compare(&resource(json!({})), &base("http://buckethead.system.svc"), found, given.map(Token::new))
}

#[test]
fn the_connection_secret_holds_what_a_client_needs() {
    let secret = secret("t-1");
    assert_eq!(secret.metadata.name.as_deref(), Some("orders-buckethead"));
    assert_eq!(text(&secret, "url"), "http://buckethead.system.svc/apps/orders/");
    assert_eq!(text(&secret, "libsql-url"), "libsql://buckethead.system.svc:80/apps/orders/?tls=0");
    assert_eq!((text(&secret, "token"), text(&secret, "type"), text(&secret, "provider")), ("t-1", "sqlite", "buckethead"));
    assert_eq!(secret.metadata.owner_references.unwrap()[0].uid, UID, "it goes with its resource");
}

#[test]
fn a_base_url_with_a_path_and_tls_is_kept() {
    let secret = connection_secret(&resource(json!({})), &base("https://db.example.com/base/"), &Token::new("t"));
    assert_eq!(text(&secret, "url"), "https://db.example.com/base/apps/orders/");
    assert_eq!(text(&secret, "libsql-url"), "libsql://db.example.com:443/base/apps/orders/");
}

#[test]
fn a_token_is_long_and_fit_for_a_header() {
    let token = Token::from_random([0xfb; 32]);
    assert_eq!(token.as_str().len(), 43);
    assert!(token.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    assert_eq!(format!("{token:?}"), "Token(…)");
}

#[test]
fn a_secret_that_is_as_it_should_be_is_left_alone() {
    assert_eq!(stands(Some(&secret("t-1")), None), Ok(Connection::Current));
    assert_eq!(stands(Some(&secret("t-1")), Some("t-1")), Ok(Connection::Current));
}

#[test]
fn a_token_is_made_once_and_kept_when_the_rest_is_mended() {
    assert_eq!(stands(None, None), Ok(Connection::Stale { token: None }));
    let mut damaged = secret("t-1");
    damaged.data.as_mut().unwrap().remove("url");
    assert_eq!(stands(Some(&damaged), None), Ok(Connection::Stale { token: Some(Token::new("t-1")) }));
    damaged.data.as_mut().unwrap().remove("token");
    assert_eq!(stands(Some(&damaged), None), Ok(Connection::Stale { token: None }));
}

#[test]
fn the_token_that_the_spec_names_replaces_the_one_that_was_made() {
    assert_eq!(stands(Some(&secret("made")), Some("given")), Ok(Connection::Stale { token: Some(Token::new("given")) }));
}

#[test]
fn a_secret_of_somebody_else_is_never_touched() {
    let mut foreign = secret("t-1");
    foreign.metadata.owner_references = None;
    assert_eq!(stands(Some(&foreign), None), Err(NotOurs));
}

#[test]
fn finalizers_of_others_stay_and_a_changed_resource_is_not_patched_blindly() {
    let both = resource(json!({"metadata": {"finalizers": ["other", FINALIZER]}}));
    assert_eq!(remove_finalizer(&both), json!({"metadata": {"resourceVersion": "7", "finalizers": ["other"]}}));
    let one = resource(json!({"metadata": {"finalizers": ["other"]}}));
    assert_eq!(add_finalizer(&one), json!({"metadata": {"resourceVersion": "7", "finalizers": ["other", FINALIZER]}}));
}
