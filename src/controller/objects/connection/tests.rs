use serde_json::json;

use super::*;
use crate::fixtures::{UID, pod, resource, second};
use crate::objects::Scheme;
use crate::plan::Stand;

const URL: &str = "http://buckethead.system.svc/apps/orders/";
const OVERLAP: Duration = Duration::from_mins(10);

fn base(url: &str) -> Url {
    Url::parse(url).unwrap()
}

/// A token, and the one beside it that only reads.
fn pair(token: &str) -> Tokens {
    Tokens { token: Some(Token::new(token)), read_only: Some(Token::new(format!("{token}-reads"))) }
}

fn contents(token: &str) -> Contents {
    Contents { url: URL.to_owned(), tokens: pair(token), draws: true, previous: None, handled: None }
}

/// Both are to be drawn.
fn fresh() -> Contents {
    Contents { tokens: Tokens::default(), ..contents("") }
}

/// With tokens that replaced others at the second 0.
fn rotated(token: &str, before: &str, handled: Option<&str>) -> Contents {
    Contents { previous: Some(before_until(before, 600)), handled: handled.map(str::to_owned), ..contents(token) }
}

fn before_until(before: &str, at: i64) -> Previous {
    Previous { tokens: pair(before), until: second(at) }
}

/// The same as the Secret of the spec gives it.
fn given(contents: Contents) -> Contents {
    Contents { draws: false, ..contents }
}

fn secret(contents: &Contents) -> Secret {
    connection_secret(&resource(json!({})), contents)
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    std::str::from_utf8(&secret.data.as_ref().unwrap()[key].0).unwrap()
}

/// What a Secret is compared with, asked at the second 0.
struct Asked {
    request: Option<&'static str>,
    given: Option<&'static str>,
    at: i64,
}

impl Asked {
    const NOTHING: Self = Self { request: None, given: None, at: 0 };

    fn stands(&self, found: Option<&Secret>) -> Result<Standing, NotOurs> {
        let annotations = self.request.map(|request| json!({ROTATE_TOKEN_AT: request})).unwrap_or(json!({}));
        let resource = resource(json!({"metadata": {"annotations": annotations}}));
        let source = self.given.map_or(Source::Drawn, |given| Source::Given(pair(given)));
        compare(&Wish { resource: &resource, url: URL.to_owned(), source, now: second(self.at), overlap: OVERLAP }, found)
    }

    fn connection(&self, found: Option<&Secret>) -> Connection {
        self.stands(found).unwrap().connection
    }
}

#[test]
fn the_connection_secret_holds_what_a_client_needs() {
    let secret = secret(&contents("t-1"));
    assert_eq!(secret.metadata.name.as_deref(), Some("orders-buckethead"));
    assert_eq!((text(&secret, "url"), text(&secret, "uri")), (URL, URL));
    assert_eq!(text(&secret, "libsql-url"), "libsql://buckethead.system.svc:80/apps/orders/?tls=0");
    assert_eq!((text(&secret, "host"), text(&secret, "port")), ("buckethead.system.svc", "80"));
    assert_eq!((text(&secret, "token"), text(&secret, "type"), text(&secret, "provider")), ("t-1", "sqlite", "buckethead"));
    assert_eq!(text(&secret, "read-only-token"), "t-1-reads");
    assert_eq!(secret.data.as_ref().unwrap().len(), 9, "nothing of a token before");
    assert_eq!(secret.type_.as_deref(), Some("servicebinding.io/sqlite"));
    assert_eq!(secret.metadata.owner_references.unwrap()[0].uid, UID, "it goes with its resource");
}

#[test]
fn a_base_url_with_a_path_and_tls_is_kept() {
    let url = url(&resource(json!({})), &base("https://db.example.com/base/"));
    let secret = secret(&Contents { url, ..contents("t") });
    assert_eq!(text(&secret, "url"), "https://db.example.com/base/apps/orders/");
    assert_eq!(text(&secret, "libsql-url"), "libsql://db.example.com:443/base/apps/orders/");
}

#[test]
fn clients_are_told_of_a_service_of_its_own_once_it_is_there() {
    let resource = resource(json!({}));
    let (public_url, plain) = (base("http://buckethead.system.svc"), pod());
    let told_by = |pod: &PodAddress, service: &OwnService| {
        told_url(&resource, Ways { public_url: &public_url, pod: Some(pod) }, service, Some("http://told/".to_owned()))
    };
    let told = |service: &OwnService| told_by(&plain, service);
    let asked = |service| OwnService::Asked { service, endpoints: Stand::Missing };
    let problem = Source::Kubernetes.refusal().unwrap();
    for service in [Stand::Current, Stand::Stale("uid".to_owned())] {
        assert_eq!(told(&asked(service)), "http://orders.apps.svc/");
    }
    for service in [
        OwnService::None,
        OwnService::Surplus { service: Some("uid".to_owned()), endpoints: None },
        OwnService::Refused(problem.clone()),
        asked(Stand::Missing),
        asked(Stand::Misfit("uid".to_owned())),
    ] {
        assert_eq!(told(&service), URL, "{service:?}");
    }
    assert_eq!(told(&OwnService::Unknown(problem)), "http://told/", "what cannot be seen changes nothing");
    let own = secret(&Contents { url: told(&asked(Stand::Current)), ..contents("t") });
    assert_eq!(text(&own, "libsql-url"), "libsql://orders.apps.svc:80/?tls=0");

    let secure = PodAddress { scheme: Scheme::Https, ..plain.clone() };
    let own = secret(&Contents { url: told_by(&secure, &asked(Stand::Current)), ..contents("t") });
    assert_eq!(text(&own, "url"), "https://orders.apps.svc/");
    assert_eq!((text(&own, "libsql-url"), text(&own, "port")), ("libsql://orders.apps.svc:443/", "443"));
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
    let made = secret(&contents("t-1"));
    assert_eq!(Asked::NOTHING.connection(Some(&made)), Connection::Current);
    assert_eq!(Asked { given: Some("t-1"), ..Asked::NOTHING }.connection(Some(&made)), Connection::Current);
}

#[test]
fn a_token_is_made_once_and_kept_when_the_rest_is_mended() {
    assert_eq!(Asked::NOTHING.connection(None), Connection::Stale(fresh()));
    let mut damaged = secret(&contents("t-1"));
    damaged.data.as_mut().unwrap().remove("url");
    assert_eq!(Asked::NOTHING.connection(Some(&damaged)), Connection::Stale(contents("t-1")));
    damaged.data.as_mut().unwrap().remove("token");
    let reads = Tokens { token: None, ..pair("t-1") };
    assert_eq!(Asked::NOTHING.connection(Some(&damaged)), Connection::Stale(Contents { tokens: reads, ..contents("") }));
}

#[test]
fn a_secret_of_before_there_were_tokens_that_only_read_gets_one_and_keeps_its_own() {
    let mut made = secret(&contents("t-1"));
    made.data.as_mut().unwrap().remove("read-only-token");
    let Connection::Stale(wanted) = Asked::NOTHING.connection(Some(&made)) else { panic!("it lacks one") };
    assert_eq!((&wanted.tokens.token, &wanted.previous), (&pair("t-1").token, &None));
    let drawn = wanted.drawn(|| Token::new("drawn"));
    assert_eq!(drawn.tokens, Tokens { token: pair("t-1").token, read_only: Some(Token::new("drawn")) });
    assert_eq!(given(wanted.clone()).drawn(|| Token::new("drawn")), given(wanted), "what somebody gives is never added to");
}

#[test]
fn each_new_value_of_the_annotation_makes_one_token_and_the_one_before_is_told_for_a_while() {
    let asked = Asked { request: Some("noon"), ..Asked::NOTHING };
    let stands = asked.stands(Some(&secret(&contents("old")))).unwrap();
    let wanted = Contents { tokens: Tokens::default(), ..rotated("", "old", Some("noon")) };
    assert_eq!((stands.connection, stands.previous), (Connection::Stale(wanted), Tokens::default()));
    assert_eq!(stands.rotation, Rotation::default());

    let written = secret(&rotated("new", "old", Some("noon")));
    assert_eq!((text(&written, "token"), text(&written, "previous-token")), ("new", "old"));
    assert_eq!((text(&written, "read-only-token"), text(&written, "previous-read-only-token")), ("new-reads", "old-reads"));
    assert_eq!(text(&written, "previous-token-expires"), second(600).to_string());
    for at in [0, 599] {
        let stands = Asked { at, ..asked }.stands(Some(&written)).unwrap();
        assert_eq!((stands.connection, stands.previous), (Connection::Current, pair("old")), "{at}");
        let rotation = Rotation { handled: Some("noon".to_owned()), overlaps_until: Some(second(600)), refused: None };
        assert_eq!(stands.rotation, rotation);
    }
}

#[test]
fn a_token_whose_time_is_over_is_neither_admitted_nor_told() {
    let asked = Asked { request: Some("noon"), at: 600, ..Asked::NOTHING };
    let stands = asked.stands(Some(&secret(&rotated("new", "old", Some("noon"))))).unwrap();
    let wanted = Contents { handled: Some("noon".to_owned()), ..contents("new") };
    assert_eq!((stands.connection, stands.previous), (Connection::Stale(wanted), Tokens::default()));
    assert_eq!(stands.rotation.overlaps_until, None);
}

#[test]
fn a_token_before_whose_end_cannot_be_read_is_not_admitted() {
    let mut secret = secret(&rotated("new", "old", None));
    secret.data.as_mut().unwrap().insert(PREVIOUS_TOKEN_EXPIRES.to_owned(), ByteString(b"for ever".to_vec()));
    let stands = Asked::NOTHING.stands(Some(&secret)).unwrap();
    assert_eq!((stands.connection, stands.previous), (Connection::Stale(contents("new")), Tokens::default()));
}

#[test]
fn an_annotation_that_is_gone_asks_for_nothing() {
    let handled = Contents { handled: Some("noon".to_owned()), ..contents("new") };
    assert_eq!(Asked::NOTHING.connection(Some(&secret(&handled))), Connection::Current);
}

#[test]
fn a_second_rotation_within_the_time_ends_the_oldest_token() {
    let asked = Asked { request: Some("one"), at: 60, ..Asked::NOTHING };
    let Connection::Stale(wanted) = asked.connection(Some(&secret(&rotated("second", "first", Some("noon"))))) else { panic!("rotated") };
    assert_eq!(wanted.previous, Some(before_until("second", 660)));
}

#[test]
fn a_rotation_asked_for_before_there_was_a_token_is_answered_by_the_first_one() {
    let asked = Asked { request: Some("noon"), ..Asked::NOTHING };
    let Connection::Stale(first) = asked.connection(None) else { panic!("there is none") };
    assert_eq!((first.previous, first.handled.as_deref()), (None, Some("noon")));
}

#[test]
fn the_token_that_the_spec_names_replaces_the_one_before_and_both_are_valid_for_a_while() {
    let asked = Asked { given: Some("given"), ..Asked::NOTHING };
    assert_eq!(asked.connection(Some(&secret(&contents("made")))), Connection::Stale(given(rotated("given", "made", None))));
    let stands = asked.stands(Some(&secret(&rotated("given", "made", None)))).unwrap();
    assert_eq!((stands.connection, stands.previous), (Connection::Current, pair("made")));
}

#[test]
fn only_tokens_that_are_others_now_are_told_as_those_of_before() {
    let asked = |tokens: Tokens| {
        let resource = resource(json!({}));
        let wish = Wish { resource: &resource, url: URL.to_owned(), source: Source::Given(tokens), now: second(0), overlap: OVERLAP };
        let Connection::Stale(wanted) = compare(&wish, Some(&secret(&contents("t-1")))).unwrap().connection else { panic!("it changes") };
        (wanted.tokens, wanted.previous.map(|previous| previous.tokens))
    };
    let (token, read_only) = (pair("t-1").token, pair("t-1").read_only);
    let renewed = Tokens { token: token.clone(), read_only: Some(Token::new("r-2")) };
    assert_eq!(asked(renewed.clone()), (renewed, Some(Tokens { token: None, read_only: read_only.clone() })));
    let without = Tokens { token, read_only: None };
    assert_eq!(asked(without.clone()), (without, Some(Tokens { token: None, read_only })), "one that was taken away ends late as well");
}

#[test]
fn a_token_that_should_not_be_told_any_more_is_taken_out() {
    let mut told = secret(&contents("given"));
    let asked = Asked { given: Some("given"), ..Asked::NOTHING };
    assert_eq!(asked.connection(Some(&told)), Connection::Current);
    told.data.as_mut().unwrap().insert("previous-read-only-token".to_owned(), ByteString(b"old".to_vec()));
    assert_eq!(asked.connection(Some(&told)), Connection::Stale(given(contents("given"))));
}

#[test]
fn a_token_of_ones_own_is_not_rotated_by_annotation() {
    let asked = Asked { request: Some("noon"), given: Some("given"), ..Asked::NOTHING };
    let stands = asked.stands(Some(&secret(&contents("given")))).unwrap();
    assert_eq!(stands.connection, Connection::Current);
    assert_eq!(stands.rotation.refused.map(|problem| problem.reason), Some(Reason::TokenGiven));
    let Connection::Stale(first) = asked.connection(None) else { panic!("there is none") };
    assert_eq!(first.handled, None, "nor said to be handled");
}

#[test]
fn where_kubernetes_knows_the_tokens_the_secret_holds_none() {
    let resource = resource(json!({"metadata": {"annotations": {ROTATE_TOKEN_AT: "noon"}}}));
    let wish = Wish { resource: &resource, url: URL.to_owned(), source: Source::Kubernetes, now: second(0), overlap: OVERLAP };
    let without = Contents { url: URL.to_owned(), ..Contents::default() };
    assert_eq!(compare(&wish, None).unwrap().connection, Connection::Stale(without.clone()));
    let stands = compare(&wish, Some(&secret(&rotated("made", "before", None)))).unwrap();
    assert_eq!(stands.connection, Connection::Stale(without.clone()), "those of before are not told any more");
    let refused = stands.rotation.refused.unwrap();
    assert_eq!(refused.reason, Reason::TokenGiven);
    assert!(refused.message.contains("Kubernetes"), "{}", refused.message);
    let written = secret(&without.drawn(|| Token::new("drawn")));
    assert_eq!(compare(&wish, Some(&written)).unwrap().connection, Connection::Current);
    assert_eq!((text(&written, "url"), written.data.as_ref().unwrap().len()), (URL, 7));
    // And back again.
    assert_eq!(Asked::NOTHING.connection(Some(&written)), Connection::Stale(fresh()));
}

#[test]
fn a_secret_of_somebody_else_is_never_touched() {
    let owner = |change: fn(&mut k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference)| {
        let mut foreign = secret(&contents("t-1"));
        change(&mut foreign.metadata.owner_references.as_mut().unwrap()[0]);
        Asked::NOTHING.stands(Some(&foreign))
    };
    let mut foreign = secret(&contents("t-1"));
    foreign.metadata.owner_references = None;
    assert_eq!(Asked::NOTHING.stands(Some(&foreign)), Err(NotOurs));
    assert!(owner(|_| {}).is_ok());
    assert_eq!(owner(|owner| owner.controller = None), Err(NotOurs), "it only goes with us");
    for change in [
        (|owner| owner.name = "another".to_owned()) as fn(&mut k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference),
        |owner| owner.kind = "Deployment".to_owned(),
        |owner| owner.api_version = "example.com/v1".to_owned(),
        |owner| owner.api_version = "v1".to_owned(),
    ] {
        let mut foreign = secret(&contents("t-1"));
        let reference = &mut foreign.metadata.owner_references.as_mut().unwrap()[0];
        reference.uid = "another".to_owned();
        change(reference);
        assert_eq!(Asked::NOTHING.stands(Some(&foreign)), Err(NotOurs), "{:?}", foreign.metadata.owner_references);
    }
}

#[test]
fn a_secret_of_an_earlier_life_of_the_resource_is_taken_over_with_its_token() {
    let mut earlier = secret(&contents("t-1"));
    let reference = &mut earlier.metadata.owner_references.as_mut().unwrap()[0];
    // A later version of the API is still ours.
    (reference.uid, reference.api_version) = ("earlier".to_owned(), "buckethead.dev/v1".to_owned());
    assert_eq!(Asked::NOTHING.connection(Some(&earlier)), Connection::Stale(contents("t-1")));
}
