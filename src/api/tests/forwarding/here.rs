//! What a process answers that has the database open, and until when it may.

use futures::StreamExt as _;

use super::*;

const ROWS: &str = "with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select i, printf('%0100d', i) from n";

impl Pod {
    /// The answer whose body has not been read yet.
    async fn begin(&self, path: &str, accept: &str, sql: &'static str) -> Response {
        let request = request("POST", path, &[("accept", accept)], sql);
        self.listening.server.api.clone().oneshot(request).await.unwrap()
    }
}

#[tokio::test]
async fn a_reply_of_a_process_that_is_the_host_no_more_is_withheld() {
    let host = Pod::host(Access::Open).await;
    host.run("create table t(a)").await.rows();
    host.script.ends_after(0);
    let read = host.ask("GET", "/apps/orders/sql?q=select+1", &[], "").await;
    assert_eq!(read.problem(), problem(503, "no-host"));
    assert_eq!(read.headers[header::RETRY_AFTER], "1");
    assert_eq!(host.ask("QUERY", "/apps/orders/sql", &[], "select 1").await.problem(), problem(503, "no-host"));
    let written = host.run("insert into t values (1)").await;
    assert_eq!(written.problem(), problem(502, "host-lost"), "nobody knows whether it stays");
    let of_stream = host.ask("POST", "/apps/orders/v3/pipeline", &[], r#"{"requests": []}"#).await;
    assert_eq!((of_stream.status.as_u16(), &of_stream.json()["code"]), (502, &json!("HOST_LOST")));
    for reply in [read, written, of_stream] {
        assert!(!reply.headers.contains_key("x-txid") && !reply.headers.contains_key("x-durable-txid"));
    }
    host.script.ends_after(ALWAYS);
    assert_eq!(host.run("select count(*) from t").await.rows(), json!([[1]]));
    assert_eq!(host.script.under_way(), 0);
}

#[tokio::test]
async fn a_body_whose_head_is_gone_breaks_off() {
    let host = Pod::host(Access::Open).await;
    // One look for the head, none for the body, which is there whole.
    host.script.ends_after(1);
    let response = host.begin("/apps/orders/sql", "application/json", "select 1").await;
    assert_eq!(response.status(), 200);
    assert!(to_bytes(response.into_body(), usize::MAX).await.is_err());
}

#[tokio::test]
async fn rows_on_their_way_break_off() {
    let host = Pod::host(Access::Open).await;
    let response = host.begin("/apps/orders/sql", "application/x-ndjson", ROWS).await;
    let mut rows = response.into_body().into_data_stream();
    assert!(!rows.next().await.unwrap().unwrap().is_empty());
    host.script.ends_after(0);
    assert!(rows.next().await.unwrap().is_err());
    assert_eq!(host.script.under_way(), 1);
    drop(rows);
    assert_eq!(host.script.under_way(), 0);
}

#[tokio::test]
async fn a_broken_body_is_seen_through_another_process() {
    let (host, other) = two(Access::Open).await;
    let response = other.begin("/apps/orders/sql", "application/x-ndjson", ROWS).await;
    let mut rows = response.into_body().into_data_stream();
    assert!(!rows.next().await.unwrap().unwrap().is_empty());
    host.script.ends_after(0);
    while let Some(Ok(_)) = rows.next().await {}
    let whole = other.begin("/apps/orders/sql", "application/x-ndjson", ROWS).await;
    assert_eq!(whole.status(), 502, "and from then on nothing comes");
}

#[tokio::test]
async fn a_request_is_under_way_until_its_body_has_ended() {
    let host = Pod::host(Access::Open).await;
    let response = host.begin("/apps/orders/sql", "application/x-ndjson", ROWS).await;
    let mut rows = response.into_body().into_data_stream();
    assert_eq!(host.script.under_way(), 1);
    while let Some(Ok(_)) = rows.next().await {}
    assert_eq!(host.script.under_way(), 0);

    let response = host.begin("/apps/orders/sql", "application/json", "select 1").await;
    assert_eq!(host.script.under_way(), 1);
    drop(response);
    assert_eq!(host.script.under_way(), 0, "or nobody wants it");

    let response = host.listening.server.api.clone().oneshot(request("PUT", "/apps/orders/kv/a", &[], "1")).await.unwrap();
    assert_eq!((response.status().as_u16(), host.script.under_way()), (204, 0), "or there is none");
}

#[tokio::test]
async fn what_a_client_is_sent_compressed_breaks_off_as_well() {
    let host = Pod::host(Access::Open).await;
    host.script.ends_after(1);
    let sql = "select printf('%05000d', 1)";
    let asked = request("POST", "/apps/orders/sql", &[("accept-encoding", "gzip")], sql);
    let response = host.listening.server.api.clone().oneshot(asked).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert!(to_bytes(response.into_body(), usize::MAX).await.is_err());
}
