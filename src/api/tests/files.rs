//! The routes of files.

use axum::http::HeaderValue;
use engine::Clock as _;
use engine::bucket::embedded::{Fault, FaultEffect, Operation};

use super::*;

const FILES: &str = "/apps/orders/files";
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn at(key: &str) -> String {
    format!("{FILES}/{key}")
}

impl Server {
    async fn post_file(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        self.ask("POST", FILES, headers, body).await
    }

    fn store(&self) -> &EmbeddedStore {
        &self.store.as_ref().unwrap().0
    }
}

#[tokio::test]
async fn a_file_goes_in_and_comes_back_as_it_was_described() {
    let server = Server::open().await;
    let described =
        [("content-type", "text/plain"), ("content-disposition", "attachment; filename=\"a.txt\""), ("x-buckethead-meta-color", "green")];
    let put = server.post_file(&described, "hello").await;
    assert_eq!(put.status, StatusCode::CREATED);
    assert_eq!(put.headers[header::LOCATION], at(HELLO).as_str());
    let document = put.json();
    assert_eq!((&document["bh_key"], &document["size"]), (&json!(HELLO), &json!(5)));
    assert_eq!(document["metadata"], json!({"color": "green"}));
    let again = server.post_file(&[("content-type", "image/png")], "hello").await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, document.clone()));

    let got = server.get(&at(HELLO)).await;
    assert_eq!((got.status, got.body.as_slice()), (StatusCode::OK, &b"hello"[..]));
    let head = server.ask("HEAD", &at(HELLO), &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    for reply in [&got, &head] {
        let expected = [
            (header::CONTENT_TYPE.as_str(), "text/plain"),
            ("content-length", "5"),
            ("content-disposition", "attachment; filename=\"a.txt\""),
            ("etag", &format!("\"{HELLO}\"")),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
            ("x-buckethead-meta-color", "green"),
        ];
        for (name, value) in expected {
            assert_eq!(reply.headers[name], value, "{name}");
        }
    }
    assert_eq!(server.get(FILES).await.json(), json!({"files": [document], "next": null}));
}

#[tokio::test]
async fn a_part_is_given_and_what_is_known_is_not() {
    let server = Server::open().await;
    server.post_file(&[], "0123456789").await;
    let key = server.get(FILES).await.json()["files"][0]["bh_key"].as_str().unwrap().to_owned();
    let part = server.ask("GET", &at(&key), &[("range", "bytes=2-4")], "").await;
    assert_eq!((part.status, part.body.as_slice()), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
    assert_eq!(
        (&part.headers[header::CONTENT_RANGE], &part.headers[header::CONTENT_LENGTH]),
        (&HeaderValue::from_static("bytes 2-4/10"), &HeaderValue::from_static("3"))
    );
    let nowhere = server.ask("GET", &at(&key), &[("range", "bytes=10-")], "").await;
    assert_eq!(nowhere.headers[header::CONTENT_RANGE], "bytes */10");
    assert_eq!(nowhere.problem(), problem(416, "range-not-satisfiable"));
    let etag = format!("\"{key}\"");
    let known = server.ask("GET", &at(&key), &[("if-none-match", &etag)], "").await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(known.headers[header::ETAG], etag.as_str());
    assert_eq!(server.ask("GET", &at(&key), &[("if-match", "\"other\"")], "").await.problem(), problem(412, "precondition-failed"));
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let server = Server::open().await;
    let key = server.post_file(&[], "").await.json()["bh_key"].as_str().unwrap().to_owned();
    let got = server.get(&at(&key)).await;
    assert_eq!((got.status, got.body.len()), (StatusCode::OK, 0));
    assert_eq!(server.ask("GET", &at(&key), &[("range", "bytes=0-")], "").await.problem(), problem(416, "range-not-satisfiable"));
}

#[tokio::test]
async fn a_deleted_file_is_gone_and_what_is_no_key_names_none() {
    let server = Server::open().await;
    server.post_file(&[], "hello").await;
    assert_eq!(server.ask("DELETE", &at(HELLO), &[], "").await.status, StatusCode::NO_CONTENT);
    for method in ["GET", "DELETE"] {
        assert_eq!(server.ask(method, &at(HELLO), &[], "").await.problem(), problem(404, "no-such-file"));
        for key in ["x", "..%2f..%2fsecret", &HELLO.to_uppercase(), "%27%20or%201=1", &"0".repeat(5000)] {
            assert_eq!(server.ask(method, &at(key), &[], "").await.problem(), problem(404, "no-such-file"), "{key}");
        }
    }
    assert_eq!(server.ask("GET", &at("%ff"), &[], "").await.problem(), problem(400, "bad-request"));
    assert_eq!(server.ask("PUT", &at(HELLO), &[], "").await.problem(), problem(405, "method-not-allowed"));
}

#[tokio::test]
async fn names_and_types_cannot_leave_their_headers() {
    let server = Server::open().await;
    server.post_file(&[("content-disposition", "attachment; filename*=UTF-8''%22%3b%20x=%e2%82%ac.html")], "hello").await;
    // Rows may come from anywhere.
    server.run("update filestore set mime = 'text/html' || char(13, 10) || 'set-cookie: a=b', metadata = '{\"a b\": \"x\", \"c\": \"x\\ny\", \"d\": \"z\"}'").await.rows();
    let reply = server.get(&at(HELLO)).await;
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(
        reply.headers[header::CONTENT_DISPOSITION],
        "attachment; filename=\"_; x=_.html\"; filename*=UTF-8''%22%3B%20x%3D%E2%82%AC.html"
    );
    assert_eq!(reply.headers["x-buckethead-meta-d"], "z");
    assert!(!reply.headers.contains_key(header::SET_COOKIE) && !reply.headers.contains_key("x-buckethead-meta-c"));
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_before_it_is_read() {
    let server = Server::open().await;
    assert_eq!(server.post_file(&[("content-disposition", "attachment; filename=\"")], "x").await.problem(), problem(400, "bad-request"));
    assert_eq!(server.post_file(&[("content-encoding", "gzip")], "x").await.problem(), problem(415, "unsupported-media-type"));
    let announced = (SPOOL + 1).to_string();
    assert_eq!(server.post_file(&[("content-length", &announced)], "x").await.problem(), problem(413, "body-too-large"));
    let large = vec![0; usize::try_from(SPOOL).unwrap() + 1];
    assert_eq!(server.post_file(&[], large).await.problem(), problem(413, "body-too-large"));
    let broken = futures::stream::iter([Ok(bytes::Bytes::from_static(b"half")), Err(std::io::Error::other("cut"))]);
    assert_eq!(server.post_file(&[], Body::from_stream(broken)).await.problem(), problem(400, "bad-request"));
    assert_eq!(server.get(FILES).await.json()["files"], json!([]));
    assert_eq!(server.get(&format!("{FILES}?before=x")).await.problem(), problem(400, "bad-request"));
}

#[tokio::test]
async fn a_listing_goes_by_pages() {
    let server = Server::open().await;
    for body in ["a", "b", "c"] {
        server.post_file(&[], body).await;
    }
    let first = server.get(&format!("{FILES}?limit=2")).await.json();
    assert_eq!(first["files"].as_array().unwrap().len(), 2);
    let rest = server.get(&format!("{FILES}?limit=2&after={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((rest["files"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    assert_eq!(server.get(&format!("{FILES}?after={HELLO}")).await.json(), json!({"files": [], "next": null}));
}

#[tokio::test]
async fn a_store_in_trouble_is_told_and_cuts_a_download() {
    let server = Server::open().await;
    server.post_file(&[], vec![7; 1 << 20]).await;
    let key = server.get(FILES).await.json()["files"][0]["bh_key"].as_str().unwrap().to_owned();
    let blobs = |key: &str| key.starts_with("files/");
    let faults = server.store().faults();
    faults.add(Fault::new(FaultEffect::Refuse).key(blobs));
    let refused = server.get(&at(&key)).await;
    assert_eq!(refused.headers[header::RETRY_AFTER], "5");
    assert_eq!(refused.problem(), problem(503, "bucket-unavailable"));
    faults.clear();
    faults.add(Fault::new(FaultEffect::CutBody(300_000)).on(Operation::GetObject).key(blobs));
    let request = Request::builder().uri(at(&key)).body(Body::empty()).unwrap();
    let reply = server.api.clone().oneshot(request).await.unwrap();
    // The break may overtake the headers.
    if reply.status() == StatusCode::OK {
        to_bytes(reply.into_body(), usize::MAX).await.unwrap_err();
    }
    faults.clear();
    let lost = "update filestore set size = size + 1";
    server.run(lost).await.rows();
    assert_eq!(server.get(&at(&key)).await.problem(), problem(502, "file-lost"));
}

#[tokio::test]
async fn a_shared_file_has_a_url_for_as_long_as_was_asked() {
    let server = Server::open().await;
    let share = format!("{}/share", at(HELLO));
    assert_eq!(server.ask("POST", &share, &[], "").await.problem(), problem(404, "no-such-file"));
    server.post_file(&[("content-type", "text/plain")], "hello").await;
    for (body, seconds) in [("", 3600), ("{}", 3600), (r#"{"expires_seconds":1}"#, 1), (r#"{"expires_seconds":604800}"#, 604_800)] {
        let shared = server.ask("POST", &share, &[], body).await;
        assert_eq!((shared.status, &shared.headers[header::CACHE_CONTROL]), (StatusCode::OK, &HeaderValue::from_static("no-store")));
        let shared = shared.json();
        let url = shared["url"].as_str().unwrap();
        let of_store = format!("{}data/files/{HELLO}?", server.store().endpoint());
        assert!(url.starts_with(&of_store) && url.contains(&format!("X-Amz-Expires={seconds}&")), "{url}");
        let left = shared["expires_at"].as_str().unwrap().parse::<engine::WallTime>().unwrap().duration_since(SystemClock.wall());
        assert!((seconds - 60..=seconds).contains(&left.as_secs()), "{shared}");
    }
    for body in [r#"{"expires_seconds":0}"#, r#"{"expires_seconds":604801}"#, r#"{"expires":5}"#, "1"] {
        assert_eq!(server.ask("POST", &share, &[], body).await.problem(), problem(400, "bad-request"), "{body}");
    }
    // Nobody is given the URL of what is not there.
    let lost = "update filestore set size = size + 1";
    server.run(lost).await.rows();
    assert_eq!(server.ask("POST", &share, &[], "").await.problem(), problem(502, "file-lost"));
}

#[tokio::test]
async fn each_route_of_files_needs_the_token() {
    let server = Server::with_database(Guard::Operator, writers(&["secret"])).await;
    for (method, path, status) in
        [("POST", FILES.to_owned(), 201), ("GET", at(HELLO), 200), ("HEAD", at(HELLO), 200), ("DELETE", at(HELLO), 204)]
    {
        assert_eq!(server.ask(method, &path, &[], "hello").await.status.as_u16(), 401, "{method}");
        assert_eq!(server.ask(method, &path, &[("authorization", "Bearer secret")], "hello").await.status.as_u16(), status, "{method}");
    }
}
