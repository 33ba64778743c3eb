use axum::http::Request;

use super::*;

fn member() -> Member {
    Member { name: "pod-2".to_owned(), url: "http://10.1.2.3:8080".parse().unwrap() }
}

fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn each_name_by_which_we_were_addressed_goes_on_once() {
    for (uri, hosts, sent) in [
        ("/a/b", &["x"][..], &["x"][..]),
        ("http://x/a/b", &[], &["x"]),
        ("http://x/a/b", &["x"], &["x"]),
        ("http://x/a/b", &["y", "x"], &["x", "y"]),
        ("/a/b", &[], &[]),
    ] {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let (to, headers) = outgoing(&head(uri, &hosts), &member(), Hops(1), None).unwrap();
        assert_eq!(all(&headers, "host"), sent, "{uri} {hosts:?}");
        assert_eq!(to, "http://10.1.2.3:8080/a/b");
    }
}

#[test]
fn what_connection_names_is_dropped_and_never_what_forwarders_say() {
    let given = [
        ("connection", "close, X-One"),
        ("connection", "host , buckethead-hops,buckethead-client, not a name"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("host", "x"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("buckethead-client", "6.6.6.6"),
        ("buckethead-client", "7.7.7.7"),
    ];
    let (_, headers) = outgoing(&head("/a/b", &given), &member(), Hops(2), "2001:db8::1".parse().ok()).unwrap();
    let mut left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    left.sort_unstable();
    assert_eq!(left, [("buckethead-client", "2001:db8::1"), ("buckethead-hops", "2"), ("host", "x"), ("x-two", "2")]);
    let (_, headers) = outgoing(&head("/a/b", &given), &member(), Hops(2), None).unwrap();
    assert_eq!(all(&headers, "buckethead-client"), [""; 0], "of nobody");
}

#[test]
fn an_answer_tells_its_host_to_who_was_admitted_alone() {
    let further = Some(("buckethead-host", "http://10.1.2.4:8080"));
    for (is_admitted, given, told) in
        [(true, None, &["http://10.1.2.3:8080"][..]), (true, further, &["http://10.1.2.4:8080"]), (false, None, &[]), (false, further, &[])]
    {
        let given: Vec<_> = [("connection", "x-one"), ("x-one", "1"), ("etag", "2")].into_iter().chain(given).collect();
        let mut headers = head("/", &given).headers;
        incoming(&mut headers, &member(), is_admitted);
        assert_eq!(all(&headers, "buckethead-host"), told);
        assert_eq!((all(&headers, "x-one").len(), all(&headers, "etag").len()), (0, 1));
    }
}

#[test]
fn a_client_is_named_once_and_by_an_address() {
    let client =
        |values: &[&str]| client(&head("/", &values.iter().map(|value| ("buckethead-client", *value)).collect::<Vec<_>>()).headers);
    assert_eq!(client(&["10.0.0.1"]), "10.0.0.1".parse().ok());
    assert_eq!(client(&["2001:db8::1"]), "2001:db8::1".parse().ok());
    for values in [&[][..], &[""], &["10.0.0.1:80"], &["orders.apps"], &["10.0.0.1", "10.0.0.2"]] {
        assert_eq!(client(values), None, "{values:?}");
    }
}

#[test]
fn forwards_are_counted_up_to_some() {
    let hops = |values: &[&str]| Hops::of(&head("/", &values.iter().map(|value| ("buckethead-hops", *value)).collect::<Vec<_>>()).headers);
    assert_eq!(hops(&[]), Ok(Hops(0)));
    assert_eq!(hops(&["2"]).map(Hops::next), Ok(Some(Hops(3))));
    assert_eq!(hops(&["3"]).map(Hops::next), Ok(None));
    assert!(hops(&["1", "1"]).is_err() && hops(&["x"]).is_err());
}
