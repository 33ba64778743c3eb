//! The same protocol in Protocol Buffers. The messages stand here once more, by their specification, so that no mistake cancels itself out.

use std::collections::BTreeMap;

use futures::{SinkExt as _, StreamExt as _};
use prost::{Message as _, Oneof};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::sockets::{Listening, Socket};
use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Error {
    #[prost(string, tag = "1")]
    message: String,
    #[prost(string, optional, tag = "2")]
    code: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(oneof = "Of", tags = "1, 2, 3, 4, 5")]
    of: Option<Of>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Of {
    #[prost(message, tag = "1")]
    Null(Empty),
    #[prost(sint64, tag = "2")]
    Integer(i64),
    #[prost(double, tag = "3")]
    Float(f64),
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(bytes = "vec", tag = "5")]
    Blob(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamedArg {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stmt {
    #[prost(string, optional, tag = "1")]
    sql: Option<String>,
    #[prost(int32, optional, tag = "2")]
    sql_id: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    args: Vec<Value>,
    #[prost(message, repeated, tag = "4")]
    named_args: Vec<NamedArg>,
    #[prost(bool, optional, tag = "5")]
    want_rows: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Col {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    decltype: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StmtResult {
    #[prost(message, repeated, tag = "1")]
    cols: Vec<Col>,
    #[prost(message, repeated, tag = "2")]
    rows: Vec<Row>,
    #[prost(uint64, tag = "3")]
    affected_row_count: u64,
    #[prost(sint64, optional, tag = "4")]
    last_insert_rowid: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    steps: Vec<Step>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Step {
    #[prost(message, optional, tag = "1")]
    condition: Option<Cond>,
    #[prost(message, optional, tag = "2")]
    stmt: Option<Stmt>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Cond {
    #[prost(oneof = "CondOf", tags = "1, 2, 3, 4, 5, 6")]
    of: Option<CondOf>,
}

#[derive(Clone, PartialEq, Oneof)]
enum CondOf {
    #[prost(uint32, tag = "1")]
    Ok(u32),
    #[prost(uint32, tag = "2")]
    Error(u32),
    #[prost(message, tag = "3")]
    Not(Box<Cond>),
    #[prost(message, tag = "4")]
    And(Conds),
    #[prost(message, tag = "5")]
    Or(Conds),
    #[prost(message, tag = "6")]
    IsAutocommit(Empty),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Conds {
    #[prost(message, repeated, tag = "1")]
    conds: Vec<Cond>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BatchResult {
    #[prost(btree_map = "uint32, message", tag = "1")]
    step_results: BTreeMap<u32, StmtResult>,
    #[prost(btree_map = "uint32, message", tag = "2")]
    step_errors: BTreeMap<u32, Error>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeResult {
    #[prost(message, repeated, tag = "1")]
    params: Vec<Col>,
    #[prost(message, repeated, tag = "2")]
    cols: Vec<Col>,
    #[prost(bool, tag = "3")]
    is_explain: bool,
    #[prost(bool, tag = "4")]
    is_readonly: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pipeline {
    #[prost(string, optional, tag = "1")]
    baton: Option<String>,
    #[prost(message, repeated, tag = "2")]
    requests: Vec<Request>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(oneof = "Asked", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    asked: Option<Asked>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Asked {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(Execute),
    #[prost(message, tag = "3")]
    Batch(OfBatch),
    #[prost(message, tag = "4")]
    Sequence(Text),
    #[prost(message, tag = "5")]
    Describe(Text),
    #[prost(message, tag = "6")]
    StoreSql(StoreSql),
    #[prost(message, tag = "7")]
    CloseSql(CloseSql),
    #[prost(message, tag = "8")]
    GetAutocommit(Empty),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Execute {
    #[prost(message, optional, tag = "1")]
    stmt: Option<Stmt>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfBatch {
    #[prost(message, optional, tag = "1")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, optional, tag = "1")]
    sql: Option<String>,
    #[prost(int32, optional, tag = "2")]
    sql_id: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoreSql {
    #[prost(int32, tag = "1")]
    sql_id: i32,
    #[prost(string, tag = "2")]
    sql: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CloseSql {
    #[prost(int32, tag = "1")]
    sql_id: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PipelineReply {
    #[prost(string, optional, tag = "1")]
    baton: Option<String>,
    #[prost(string, optional, tag = "2")]
    base_url: Option<String>,
    #[prost(message, repeated, tag = "3")]
    results: Vec<StreamResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StreamResult {
    #[prost(oneof = "Ended", tags = "1, 2")]
    ended: Option<Ended>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Ended {
    #[prost(message, tag = "1")]
    Ok(Response),
    #[prost(message, tag = "2")]
    Error(Error),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    told: Option<Told>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Told {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(Executed),
    #[prost(message, tag = "3")]
    Batch(BatchDone),
    #[prost(message, tag = "4")]
    Sequence(Empty),
    #[prost(message, tag = "5")]
    Describe(Described),
    #[prost(message, tag = "6")]
    StoreSql(Empty),
    #[prost(message, tag = "7")]
    CloseSql(Empty),
    #[prost(message, tag = "8")]
    GetAutocommit(IsAutocommit),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Executed {
    #[prost(message, optional, tag = "1")]
    result: Option<StmtResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BatchDone {
    #[prost(message, optional, tag = "1")]
    result: Option<BatchResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Described {
    #[prost(message, optional, tag = "1")]
    result: Option<DescribeResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IsAutocommit {
    #[prost(bool, tag = "1")]
    is_autocommit: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CursorAsked {
    #[prost(string, optional, tag = "1")]
    baton: Option<String>,
    #[prost(message, optional, tag = "2")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CursorHead {
    #[prost(string, optional, tag = "1")]
    baton: Option<String>,
    #[prost(string, optional, tag = "2")]
    base_url: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(oneof = "EntryOf", tags = "1, 2, 3, 4, 5")]
    of: Option<EntryOf>,
}

#[derive(Clone, PartialEq, Oneof)]
enum EntryOf {
    #[prost(message, tag = "1")]
    Begin(Begin),
    #[prost(message, tag = "2")]
    End(End),
    #[prost(message, tag = "3")]
    StepError(StepError),
    #[prost(message, tag = "4")]
    Row(Row),
    #[prost(message, tag = "5")]
    Error(Error),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Begin {
    #[prost(uint32, tag = "1")]
    step: u32,
    #[prost(message, repeated, tag = "2")]
    cols: Vec<Col>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct End {
    #[prost(uint64, tag = "1")]
    affected_row_count: u64,
    #[prost(sint64, optional, tag = "2")]
    last_insert_rowid: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StepError {
    #[prost(uint32, tag = "1")]
    step: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<Error>,
}

fn stmt(sql: &str, args: Vec<Of>) -> Stmt {
    Stmt { sql: Some(sql.to_owned()), args: args.into_iter().map(|of| Value { of: Some(of) }).collect(), ..Stmt::default() }
}

fn step(sql: &str, condition: Option<CondOf>) -> Step {
    Step { stmt: Some(stmt(sql, Vec::new())), condition: condition.map(cond) }
}

fn cond(of: CondOf) -> Cond {
    Cond { of: Some(of) }
}

fn col(name: &str, decltype: Option<&str>) -> Col {
    Col { name: Some(name.to_owned()), decltype: decltype.map(str::to_owned) }
}

fn row(values: Vec<Of>) -> Row {
    Row { values: values.into_iter().map(|of| Value { of: Some(of) }).collect() }
}

fn is_error(ended: Option<&Ended>, code: &str) -> bool {
    matches!(ended, Some(Ended::Error(error)) if error.code.as_deref() == Some(code) && !error.message.is_empty())
}

async fn send(server: &Server, route: &str, message: Vec<u8>) -> Reply {
    // Clients send a type that is no JSON.
    server.ask("POST", &format!("/apps/orders/v3-protobuf/{route}"), &[("content-type", "application/x-protobuf")], message).await
}

async fn asks(server: &Server, baton: Option<String>, asked: Vec<Asked>) -> PipelineReply {
    let requests = asked.into_iter().map(|asked| Request { asked: Some(asked) }).collect();
    let reply = send(server, "pipeline", Pipeline { baton, requests }.encode_to_vec()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/x-protobuf");
    PipelineReply::decode(&reply.body[..]).unwrap()
}

async fn told(server: &Server, asked: Asked) -> Option<Ended> {
    asks(server, None, vec![asked]).await.results.remove(0).ended
}

fn executed(ended: Option<Ended>) -> StmtResult {
    match ended {
        Some(Ended::Ok(Response { told: Some(Told::Execute(Executed { result: Some(result) })) })) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn its_version_can_be_asked_for() {
    let server = Server::open().await;
    assert_eq!(server.ask("GET", "/apps/orders/v3-protobuf", &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn each_kind_of_value_comes_and_goes_exactly() {
    let server = Server::open().await;
    let values = || {
        let integers = [0, -1, i64::MIN, i64::MAX].map(Of::Integer);
        let floats = [0.5, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE].map(Of::Float);
        let texts = ["", "ä\0z"].map(|text| Of::Text(text.to_owned()));
        let long = "x".repeat(100_000);
        let blobs = [Vec::new(), vec![0, 255], vec![7; 70_000]].map(Of::Blob);
        let rest = [Of::Null(Empty {}), Of::Text(long)];
        integers.into_iter().chain(floats).chain(texts).chain(blobs).chain(rest).collect::<Vec<_>>()
    };
    let marks = vec!["?"; values().len()].join(", ");
    let result = executed(told(&server, Asked::Execute(Execute { stmt: Some(stmt(&format!("SELECT {marks}"), values())) })).await);
    assert_eq!(result.rows, [row(values())]);
    let named = NamedArg { name: "a".to_owned(), value: Some(Value { of: Some(Of::Integer(7)) }) };
    let stmt = Stmt { sql: Some("SELECT :a AS b".to_owned()), named_args: vec![named], ..Stmt::default() };
    let result = executed(told(&server, Asked::Execute(Execute { stmt: Some(stmt) })).await);
    assert_eq!(result, StmtResult { cols: vec![col("b", None)], rows: vec![row(vec![Of::Integer(7)])], ..StmtResult::default() });
}

#[tokio::test]
async fn a_pipeline_does_all_that_one_in_json_does() {
    let server = Server::open().await;
    let text = |sql: &str| Text { sql: Some(sql.to_owned()), sql_id: None };
    let created = asks(&server, None, vec![Asked::Sequence(text("CREATE TABLE t(a INTEGER, b TEXT); BEGIN"))]).await;
    assert_eq!(created.results[0].ended, Some(Ended::Ok(Response { told: Some(Told::Sequence(Empty {})) })));
    let insert = "INSERT INTO t VALUES (1, 'x'), (2, 'y')";
    let reply = asks(
        &server,
        created.baton,
        vec![
            Asked::GetAutocommit(Empty {}),
            Asked::StoreSql(StoreSql { sql_id: 3, sql: insert.to_owned() }),
            Asked::Execute(Execute { stmt: Some(Stmt { sql_id: Some(3), ..Stmt::default() }) }),
            Asked::CloseSql(CloseSql { sql_id: 3 }),
            Asked::Execute(Execute { stmt: Some(stmt("SELECT nope", Vec::new())) }),
            Asked::Describe(text("SELECT a, b, a + ?1 FROM t WHERE b = :b")),
            Asked::Execute(Execute { stmt: Some(Stmt { want_rows: Some(false), ..stmt("SELECT a FROM t", Vec::new()) }) }),
            Asked::Sequence(text("COMMIT")),
            Asked::GetAutocommit(Empty {}),
            Asked::Close(Empty {}),
        ],
    )
    .await;
    let ok = |told| Some(Ended::Ok(Response { told: Some(told) }));
    let autocommit = |is_autocommit| ok(Told::GetAutocommit(IsAutocommit { is_autocommit }));
    let ended: Vec<_> = reply.results.into_iter().map(|result| result.ended).collect();
    assert_eq!((reply.baton, reply.base_url), (None, None));
    assert_eq!(ended[0], autocommit(false));
    assert_eq!(ended[1], ok(Told::StoreSql(Empty {})));
    assert_eq!(executed(ended[2].clone()), StmtResult { affected_row_count: 2, last_insert_rowid: Some(2), ..StmtResult::default() });
    assert_eq!(ended[3], ok(Told::CloseSql(Empty {})));
    assert!(is_error(ended[4].as_ref(), "SQLITE_ERROR"), "{:?}", ended[4]);
    let described = DescribeResult {
        params: vec![Col { name: Some("?1".to_owned()), decltype: None }, Col { name: Some(":b".to_owned()), decltype: None }],
        cols: vec![col("a", Some("INTEGER")), col("b", Some("TEXT")), col("a + ?1", None)],
        is_explain: false,
        is_readonly: true,
    };
    assert_eq!(ended[5], ok(Told::Describe(Described { result: Some(described) })));
    assert_eq!(executed(ended[6].clone()), StmtResult { cols: vec![col("a", Some("INTEGER"))], ..StmtResult::default() });
    assert_eq!(ended[8], autocommit(true));
    assert_eq!(ended[9], ok(Told::Close(Empty {})));
}

#[tokio::test]
async fn steps_of_a_batch_are_told_by_their_numbers_and_skipped_ones_not_at_all() {
    let server = Server::open().await;
    let autocommit = || cond(CondOf::IsAutocommit(Empty {}));
    let steps = vec![
        step("SELECT 10", None),
        step("SELECT nope", None),
        step("SELECT 12", Some(CondOf::Ok(1))),
        step("SELECT 13", Some(CondOf::Error(1))),
        step("SELECT 14", Some(CondOf::Not(Box::new(autocommit())))),
        step("SELECT 15", Some(CondOf::And(Conds { conds: vec![autocommit(), cond(CondOf::Ok(0))] }))),
        step("SELECT 16", Some(CondOf::Or(Conds { conds: Vec::new() }))),
    ];
    let Some(Ended::Ok(Response { told: Some(Told::Batch(BatchDone { result: Some(result) })) })) =
        told(&server, Asked::Batch(OfBatch { batch: Some(Batch { steps }) })).await
    else {
        panic!("a batch")
    };
    let rows: Vec<_> = result.step_results.iter().map(|(step, result)| (*step, result.rows[0].clone())).collect();
    assert_eq!(rows, [0, 3, 5].map(|step| (step, row(vec![Of::Integer(10 + i64::from(step))]))));
    let errors: Vec<_> = result.step_errors.iter().map(|(step, error)| (*step, error.code.as_deref())).collect();
    assert_eq!(errors, [(1, Some("SQLITE_ERROR"))]);
}

#[tokio::test]
async fn a_cursor_sends_each_entry_after_its_length() {
    let server = Server::open().await;
    let steps = vec![
        step("CREATE TABLE t(a)", None),
        step("INSERT INTO t VALUES (1), (2)", None),
        step("SELECT a FROM t", None),
        step("SELECT nope", None),
        step("SELECT printf('%0100000d', 1)", Some(CondOf::Error(3))),
    ];
    let reply = send(&server, "cursor", CursorAsked { baton: None, batch: Some(Batch { steps }) }.encode_to_vec()).await;
    assert_eq!(
        (reply.status, &reply.headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &header::HeaderValue::from_static("application/x-protobuf"))
    );
    let mut left = &reply.body[..];
    let CursorHead { baton, base_url } = CursorHead::decode_length_delimited(&mut left).unwrap();
    let mut entries = Vec::new();
    while !left.is_empty() {
        entries.push(Entry::decode_length_delimited(&mut left).unwrap().of.unwrap());
    }
    let begin = |step, cols| EntryOf::Begin(Begin { step, cols });
    let end = |affected_row_count, last_insert_rowid| EntryOf::End(End { affected_row_count, last_insert_rowid });
    assert_eq!(
        entries[..8],
        [
            begin(0, Vec::new()),
            end(0, None),
            begin(1, Vec::new()),
            end(2, Some(2)),
            begin(2, vec![col("a", None)]),
            EntryOf::Row(row(vec![Of::Integer(1)])),
            EntryOf::Row(row(vec![Of::Integer(2)])),
            end(0, None),
        ]
    );
    assert!(
        matches!(&entries[8], EntryOf::StepError(StepError { step: 3, error: Some(error) }) if error.code.as_deref() == Some("SQLITE_ERROR"))
    );
    assert!(matches!(&entries[10], EntryOf::Row(Row { values }) if matches!(&values[0].of, Some(Of::Text(text)) if text.len() == 100_000)));
    assert_eq!((entries.len(), base_url), (12, None));
    // Its stream goes on, in the other encoding as well.
    pipeline(&server, baton.as_deref(), json!([{"type": "close"}])).await;
}

#[tokio::test]
async fn what_breaks_the_protocol_is_refused_in_json_which_every_client_reads() {
    let server = Server::open().await;
    let deep = (0..40).fold(cond(CondOf::Ok(0)), |inner, _| cond(CondOf::Not(Box::new(inner))));
    let abyss = (0..200).fold(cond(CondOf::Ok(0)), |inner, _| cond(CondOf::Not(Box::new(inner))));
    let batch = |condition| {
        let steps = vec![step("SELECT 1", None), Step { condition: Some(condition), ..step("SELECT 2", None) }];
        Request { asked: Some(Asked::Batch(OfBatch { batch: Some(Batch { steps }) })) }
    };
    let bodies = [
        (b"{\"requests\":[]}".to_vec(), "Protocol Buffers"),
        (Pipeline { baton: None, requests: vec![Request { asked: None }] }.encode_to_vec(), "`request`"),
        (
            Pipeline { baton: None, requests: vec![Request { asked: Some(Asked::Execute(Execute { stmt: None })) }] }.encode_to_vec(),
            "`stmt`",
        ),
        (Pipeline { baton: None, requests: vec![batch(deep)] }.encode_to_vec(), "deeper"),
        (Pipeline { baton: None, requests: vec![batch(abyss)] }.encode_to_vec(), "recursion"),
        (Pipeline { baton: None, requests: vec![batch(cond(CondOf::Ok(1)))] }.encode_to_vec(), "not before it"),
        (Pipeline { baton: None, requests: vec![batch(Cond { of: None })] }.encode_to_vec(), "`condition`"),
        // Groups within groups, of a field that nobody knows.
        (vec![0x7b; 1 << 20], "recursion"),
        (Pipeline { baton: Some("nonsense".to_owned()), requests: Vec::new() }.encode_to_vec(), "baton"),
    ];
    for (body, says) in bodies {
        let reply = send(&server, "pipeline", body).await;
        assert_eq!(failure(&reply).0, 400);
        assert!(reply.json()["error"].as_str().unwrap().contains(says), "{says}: {}", reply.json());
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ClientMessage {
    #[prost(oneof = "FromClient", tags = "1, 2")]
    of: Option<FromClient>,
}

#[derive(Clone, PartialEq, Oneof)]
enum FromClient {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Request(SocketRequest),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Hello {
    #[prost(string, optional, tag = "1")]
    jwt: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SocketRequest {
    #[prost(int32, tag = "1")]
    request_id: i32,
    #[prost(oneof = "OverSocket", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    of: Option<OverSocket>,
}

/// Requests: those of a stream have their numbers first.
#[derive(Clone, PartialEq, Oneof)]
enum OverSocket {
    #[prost(message, tag = "2")]
    OpenStream(OfStream),
    #[prost(message, tag = "3")]
    CloseStream(OfStream),
    #[prost(message, tag = "4")]
    Execute(ExecuteOn),
    #[prost(message, tag = "5")]
    Batch(BatchOn),
    #[prost(message, tag = "6")]
    OpenCursor(OpenCursor),
    #[prost(message, tag = "7")]
    CloseCursor(OfCursor),
    #[prost(message, tag = "8")]
    FetchCursor(OfCursor),
    #[prost(message, tag = "9")]
    Sequence(TextOn),
    #[prost(message, tag = "10")]
    Describe(TextOn),
    #[prost(message, tag = "11")]
    StoreSql(StoreSql),
    #[prost(message, tag = "12")]
    CloseSql(CloseSql),
    #[prost(message, tag = "13")]
    GetAutocommit(OfStream),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfStream {
    #[prost(int32, tag = "1")]
    stream_id: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExecuteOn {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(message, optional, tag = "2")]
    stmt: Option<Stmt>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BatchOn {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(message, optional, tag = "2")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TextOn {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(string, optional, tag = "2")]
    sql: Option<String>,
    #[prost(int32, optional, tag = "3")]
    sql_id: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OpenCursor {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(int32, tag = "2")]
    cursor_id: i32,
    #[prost(message, optional, tag = "3")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfCursor {
    #[prost(int32, tag = "1")]
    cursor_id: i32,
    #[prost(uint32, tag = "2")]
    max_count: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServerMessage {
    #[prost(oneof = "FromServer", tags = "1, 2, 3, 4")]
    of: Option<FromServer>,
}

#[derive(Clone, PartialEq, Oneof)]
enum FromServer {
    #[prost(message, tag = "1")]
    HelloOk(Empty),
    #[prost(message, tag = "2")]
    HelloError(OfError),
    #[prost(message, tag = "3")]
    Ok(SocketOk),
    #[prost(message, tag = "4")]
    Error(SocketError),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfError {
    #[prost(message, optional, tag = "1")]
    error: Option<Error>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SocketError {
    #[prost(int32, tag = "1")]
    request_id: i32,
    #[prost(message, optional, tag = "2")]
    error: Option<Error>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SocketOk {
    #[prost(int32, tag = "1")]
    request_id: i32,
    #[prost(oneof = "SocketTold", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    told: Option<SocketTold>,
}

#[derive(Clone, PartialEq, Oneof)]
enum SocketTold {
    #[prost(message, tag = "2")]
    OpenStream(Empty),
    #[prost(message, tag = "3")]
    CloseStream(Empty),
    #[prost(message, tag = "4")]
    Execute(Executed),
    #[prost(message, tag = "5")]
    Batch(BatchDone),
    #[prost(message, tag = "6")]
    OpenCursor(Empty),
    #[prost(message, tag = "7")]
    CloseCursor(Empty),
    #[prost(message, tag = "8")]
    FetchCursor(Fetched),
    #[prost(message, tag = "9")]
    Sequence(Empty),
    #[prost(message, tag = "10")]
    Describe(Described),
    #[prost(message, tag = "11")]
    StoreSql(Empty),
    #[prost(message, tag = "12")]
    CloseSql(Empty),
    #[prost(message, tag = "13")]
    GetAutocommit(IsAutocommit),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Fetched {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(bool, tag = "2")]
    done: bool,
}

impl Socket {
    async fn say_in_protobuf(&mut self, of: FromClient) {
        self.socket.send(Message::binary(ClientMessage { of: Some(of) }.encode_to_vec())).await.unwrap();
    }

    async fn hear_in_protobuf(&mut self) -> FromServer {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => return ServerMessage::decode(&bytes[..]).unwrap().of.unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Whatever is told of a request, which has the number 0 or another.
    async fn ask_in_protobuf(&mut self, request_id: i32, of: OverSocket) -> Result<SocketTold, Error> {
        self.say_in_protobuf(FromClient::Request(SocketRequest { request_id, of: Some(of) })).await;
        match self.hear_in_protobuf().await {
            FromServer::Ok(SocketOk { request_id: told_id, told: Some(told) }) if told_id == request_id => Ok(told),
            FromServer::Error(SocketError { request_id: told_id, error: Some(error) }) if told_id == request_id => Err(error),
            other => panic!("{other:?}"),
        }
    }
}

async fn talk(server: &Listening) -> Socket {
    let (mut socket, chosen) = server.connect("/apps/orders/", Some("hrana3, hrana3-protobuf")).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("hrana3-protobuf"));
    socket.say_in_protobuf(FromClient::Hello(Hello { jwt: None })).await;
    assert_eq!(socket.hear_in_protobuf().await, FromServer::HelloOk(Empty {}));
    socket
}

#[tokio::test]
async fn a_socket_does_all_that_one_in_json_does() {
    let server = Listening::over(Server::open().await).await;
    let mut socket = talk(&server).await;
    let text = |sql: &str| TextOn { stream_id: -1, sql: Some(sql.to_owned()), sql_id: None };
    let stream = || OfStream { stream_id: -1 };
    let table = "CREATE TABLE t(a); INSERT INTO t SELECT value FROM json_each('[1,2,3]')";
    let select = || Batch { steps: vec![step("SELECT a FROM t", None)] };
    for (request_id, (of, expected)) in [
        (OverSocket::OpenStream(stream()), SocketTold::OpenStream(Empty {})),
        (OverSocket::Sequence(text(table)), SocketTold::Sequence(Empty {})),
        (OverSocket::StoreSql(StoreSql { sql_id: 9, sql: "BEGIN".to_owned() }), SocketTold::StoreSql(Empty {})),
        (OverSocket::Sequence(TextOn { stream_id: -1, sql: None, sql_id: Some(9) }), SocketTold::Sequence(Empty {})),
        (OverSocket::CloseSql(CloseSql { sql_id: 9 }), SocketTold::CloseSql(Empty {})),
        (OverSocket::GetAutocommit(stream()), SocketTold::GetAutocommit(IsAutocommit { is_autocommit: false })),
        (
            OverSocket::Describe(text("SELECT 1 AS n")),
            SocketTold::Describe(Described {
                result: Some(DescribeResult { cols: vec![col("n", None)], is_readonly: true, ..DescribeResult::default() }),
            }),
        ),
        (
            OverSocket::Batch(BatchOn { stream_id: -1, batch: Some(Batch::default()) }),
            SocketTold::Batch(BatchDone { result: Some(BatchResult::default()) }),
        ),
        (OverSocket::OpenCursor(OpenCursor { stream_id: -1, cursor_id: 5, batch: Some(select()) }), SocketTold::OpenCursor(Empty {})),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(socket.ask_in_protobuf(i32::try_from(request_id).unwrap(), of).await, Ok(expected));
    }
    let mut rows = Vec::new();
    loop {
        let fetch = OverSocket::FetchCursor(OfCursor { cursor_id: 5, max_count: 2 });
        let Ok(SocketTold::FetchCursor(Fetched { entries, done })) = socket.ask_in_protobuf(100, fetch).await else { panic!() };
        assert!(entries.len() <= 2);
        rows.extend(entries.into_iter().filter_map(|entry| if let Some(EntryOf::Row(row)) = entry.of { Some(row) } else { None }));
        if done {
            break;
        }
    }
    assert_eq!(rows, [1, 2, 3].map(|value| row(vec![Of::Integer(value)])));
    let close = OverSocket::CloseCursor(OfCursor { cursor_id: 5, max_count: 0 });
    assert_eq!(socket.ask_in_protobuf(101, close).await, Ok(SocketTold::CloseCursor(Empty {})));
    let failing = OverSocket::Execute(ExecuteOn { stream_id: -1, stmt: Some(stmt("SELECT nope", Vec::new())) });
    assert_eq!(socket.ask_in_protobuf(-102, failing).await.unwrap_err().code.as_deref(), Some("SQLITE_ERROR"));
    let counting = OverSocket::Execute(ExecuteOn { stream_id: -1, stmt: Some(stmt("SELECT count(*) AS n FROM t", Vec::new())) });
    let counted = StmtResult { cols: vec![col("n", None)], rows: vec![row(vec![Of::Integer(3)])], ..StmtResult::default() };
    assert_eq!(socket.ask_in_protobuf(103, counting).await, Ok(SocketTold::Execute(Executed { result: Some(counted) })));
    assert_eq!(socket.ask_in_protobuf(104, OverSocket::CloseStream(stream())).await, Ok(SocketTold::CloseStream(Empty {})));
}

#[tokio::test]
async fn a_token_that_does_not_admit_is_refused_in_protobuf() {
    let server = Listening::over(Server::with_database(Guard::Operator, writers(&["secret"])).await).await;
    let (mut socket, _) = server.connect("/apps/orders/", Some("hrana3-protobuf")).await.unwrap();
    socket.say_in_protobuf(FromClient::Hello(Hello { jwt: Some("wrong".to_owned()) })).await;
    let FromServer::HelloError(OfError { error: Some(error) }) = socket.hear_in_protobuf().await else { panic!("an error") };
    assert!(error.code.is_some() && !error.message.is_empty(), "{error:?}");
    assert_eq!(socket.end().await, 1008);
}

#[tokio::test]
async fn a_socket_that_sends_another_encoding_or_none_is_closed() {
    let server = Listening::over(Server::open().await).await;
    let mut socket = talk(&server).await;
    socket.say(&json!({"type": "hello", "jwt": null})).await;
    assert_eq!(socket.end().await, 1003);
    for (protocol, message, code) in [
        ("hrana3", Message::binary(ClientMessage::default().encode_to_vec()), 1003),
        ("hrana3-protobuf", Message::binary(ClientMessage::default().encode_to_vec()), 1007),
        ("hrana3-protobuf", Message::binary(vec![0xff; 9]), 1007),
    ] {
        let (mut socket, _) = server.connect("/apps/orders/", Some(protocol)).await.unwrap();
        socket.socket.send(message).await.unwrap();
        assert_eq!(socket.end().await, code, "{protocol}");
    }
}
