use super::*;

const OURS: &str = "127.0.0.1:8080";
const PAGE: &str = "http://localhost:5173";

fn dev(token: Option<&str>) -> Guard {
    let hosts = [OURS, "localhost:8080", "[::1]:8080"].map(str::to_owned).to_vec();
    Guard::Dev { hosts, origins: vec![PAGE.to_owned()], token: token.map(TokenDigest::of) }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn judge(guard: &Guard, pairs: &[(&'static str, &'static str)]) -> Verdict {
    guard.judge(&Method::GET, None, &headers(pairs))
}

fn refused(verdict: &Verdict) -> Option<Kind> {
    if let Verdict::Refuse(problem) = verdict { Some(problem.kind) } else { None }
}

#[test]
fn dev_answers_under_its_own_names_only() {
    for host in [OURS, "localhost:8080", "LOCALHOST:8080", "[::1]:8080"] {
        assert_eq!(judge(&dev(None), &[("host", host)]), Verdict::Pass, "{host}");
    }
    for host in ["evil.example", "evil.example:8080", "localhost", "127.0.0.1", "127.0.0.1:8081", "localhost:8080.evil.example", ""] {
        assert_eq!(refused(&judge(&dev(None), &[("host", host)])), Some(Kind::ForeignHost), "{host}");
    }
}

#[test]
fn a_request_that_names_two_hosts_must_name_ours_twice() {
    let guard = dev(None);
    assert_eq!(guard.judge(&Method::GET, Some(OURS), &headers(&[])), Verdict::Pass);
    assert_eq!(guard.judge(&Method::GET, Some(OURS), &headers(&[("host", "localhost:8080")])), Verdict::Pass);
    assert_eq!(refused(&guard.judge(&Method::GET, Some(OURS), &headers(&[("host", "evil.example")]))), Some(Kind::ForeignHost));
    assert_eq!(refused(&guard.judge(&Method::GET, Some("evil.example"), &headers(&[("host", OURS)]))), Some(Kind::ForeignHost));
    assert_eq!(refused(&judge(&guard, &[("host", OURS), ("host", "evil.example")])), Some(Kind::ForeignHost));
    assert_eq!(refused(&judge(&guard, &[])), Some(Kind::ForeignHost));
}

#[test]
fn a_page_of_another_origin_is_refused_even_when_it_only_reads() {
    for origin in ["https://evil.example", "null", "http://localhost:5174", "HTTP://LOCALHOST:5173", "http://127.0.0.1:8080"] {
        assert_eq!(refused(&judge(&dev(None), &[("host", OURS), ("origin", origin)])), Some(Kind::ForeignOrigin), "{origin}");
    }
    let twice = [("host", OURS), ("origin", PAGE), ("origin", "https://evil.example")];
    assert_eq!(refused(&judge(&dev(None), &twice)), Some(Kind::ForeignOrigin));
}

#[test]
fn an_allowed_page_may_ask_and_read() {
    let page = HeaderValue::from_static(PAGE);
    assert_eq!(judge(&dev(None), &[("host", OURS), ("origin", PAGE)]), Verdict::PassTo(page.clone()));
    let preflight = headers(&[("host", OURS), ("origin", PAGE), ("access-control-request-method", "POST")]);
    assert_eq!(dev(None).judge(&Method::OPTIONS, None, &preflight), Verdict::Preflight(page.clone()));
    assert_eq!(dev(None).judge(&Method::POST, None, &preflight), Verdict::PassTo(page));
}

#[test]
fn a_preflight_of_another_origin_is_not_answered() {
    let preflight = headers(&[("host", OURS), ("origin", "https://evil.example"), ("access-control-request-method", "POST")]);
    assert_eq!(refused(&dev(None).judge(&Method::OPTIONS, None, &preflight)), Some(Kind::ForeignOrigin));
}

#[test]
fn with_a_token_the_host_is_free_and_the_origin_is_not() {
    assert_eq!(judge(&dev(Some("t")), &[("host", "devbox.lan:8080")]), Verdict::Pass);
    let foreign = [("host", "devbox.lan:8080"), ("origin", "https://evil.example")];
    assert_eq!(refused(&judge(&dev(Some("t")), &foreign)), Some(Kind::ForeignOrigin));
}

#[test]
fn in_a_cluster_neither_host_nor_origin_matters() {
    assert_eq!(judge(&Guard::Operator, &[("host", "anything"), ("origin", "https://anywhere.example")]), Verdict::Pass);
}

type Row<'a> = (&'a Guard, Option<&'a Access>, Option<&'a str>, Option<Permission>);

/// Who may do what: guard, access of the database (`None`: no such database), token shown, permission.
#[test]
fn a_database_is_told_only_to_whom_it_admits() {
    use Permission::{Read, Write};
    let tokens = Access::Tokens(vec![Grant::of("new", Write), Grant::of("old", Write), Grant::of("reads", Read)]);
    let nobody = Access::Tokens(vec![]);
    let (loopback, lan) = (dev(None), dev(Some("mine")));
    let table: [Row<'_>; 25] = [
        (&Guard::Operator, Some(&tokens), Some("new"), Some(Write)),
        (&Guard::Operator, Some(&tokens), Some("old"), Some(Write)),
        (&Guard::Operator, Some(&tokens), Some("reads"), Some(Read)),
        (&Guard::Operator, Some(&tokens), Some("NEW"), None),
        (&Guard::Operator, Some(&tokens), None, None),
        (&Guard::Operator, Some(&nobody), Some(""), None),
        (&Guard::Operator, Some(&Access::Open), None, Some(Write)),
        (&Guard::Operator, None, Some("new"), None),
        (&Guard::Operator, None, None, None),
        (&loopback, Some(&Access::Open), None, Some(Write)),
        (&loopback, Some(&tokens), None, None),
        (&loopback, Some(&tokens), Some("new"), Some(Write)),
        (&loopback, Some(&tokens), Some("reads"), Some(Read)),
        (&loopback, None, None, Some(Write)),
        (&lan, Some(&Access::Open), None, None),
        (&lan, Some(&Access::Open), Some("new"), None),
        (&lan, Some(&Access::Open), Some("mine"), Some(Write)),
        (&lan, Some(&tokens), Some("mine"), Some(Write)),
        (&lan, Some(&tokens), Some("new"), Some(Write)),
        (&lan, Some(&tokens), Some("reads"), Some(Read)),
        (&lan, Some(&tokens), None, None),
        (&lan, Some(&nobody), Some("mine"), Some(Write)),
        (&lan, None, None, None),
        (&lan, None, Some("new"), None),
        (&lan, None, Some("mine"), Some(Write)),
    ];
    for (row, (guard, access, token, permission)) in table.into_iter().enumerate() {
        assert_eq!(guard.opinion(access, token), permission.map_or(Opinion::Refuses, Opinion::Permits), "row {row}");
    }
}

#[test]
fn kubernetes_is_asked_about_tokens_that_nobody_else_knows() {
    let access = Some(&Access::Kubernetes);
    assert_eq!(Guard::Operator.opinion(access, Some("theirs")), Opinion::Asks("theirs"));
    assert_eq!(Guard::Operator.opinion(access, None), Opinion::Refuses);
    assert_eq!(dev(Some("mine")).opinion(access, Some("mine")), Opinion::Permits(Permission::Write));
    assert_eq!(dev(Some("mine")).opinion(access, Some("theirs")), Opinion::Asks("theirs"));
}

#[test]
fn metrics_need_the_token_where_there_is_one_for_all() {
    assert!(Guard::Operator.admits_to_metrics(None));
    assert!(dev(None).admits_to_metrics(None));
    assert!(!dev(Some("mine")).admits_to_metrics(None));
    assert!(dev(Some("mine")).admits_to_metrics(Some("mine")));
}

#[test]
fn a_bearer_token_is_read_from_one_header_alone() {
    let read = |pairs: &[(&'static str, &'static str)]| bearer(&headers(pairs)).map(str::to_owned);
    assert_eq!(read(&[("authorization", "Bearer abc")]).as_deref(), Some("abc"));
    assert_eq!(read(&[("authorization", "bearer  abc ")]).as_deref(), Some("abc"));
    for value in ["", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"] {
        assert_eq!(read(&[("authorization", value)]), None, "{value:?}");
    }
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), None);
}
