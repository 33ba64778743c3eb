//! Results as tables of Arrow's, read by its own library.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array as _, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;

use super::*;

const ARROW: [(&str, &str); 1] = [("accept", "application/vnd.apache.arrow.stream")];

fn batches(reply: &Reply) -> Vec<RecordBatch> {
    assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.headers[header::CONTENT_TYPE], ARROW[0].1);
    StreamReader::try_new(&reply.body[..], None).unwrap().map(Result::unwrap).collect()
}

fn types(reply: &Reply) -> Vec<(String, DataType)> {
    let reader = StreamReader::try_new(&reply.body[..], None).unwrap();
    reader.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

fn named(columns: &[(&str, DataType)]) -> Vec<(String, DataType)> {
    columns.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect()
}

#[tokio::test]
async fn each_column_has_the_type_of_its_values_and_each_value_is_exact() {
    let server = Server::open().await;
    server
        .run(
            "create table t(i, r, m, x, b); insert into t values (9007199254740993, 0.5, 1, 'ü', x'00ff'), (null, null, 2.5, null, null),
             (-1, -9e999, 9007199254740992, '', x'')",
        )
        .await
        .rows();
    let reply = post(&server, &ARROW, "select * from t order by rowid").await;
    let expected =
        [("i", DataType::Int64), ("r", DataType::Float64), ("m", DataType::Float64), ("x", DataType::Utf8), ("b", DataType::Binary)];
    assert_eq!(types(&reply), named(&expected));
    let [batch] = &batches(&reply)[..] else { panic!("one batch") };
    let [integers, reals, numbers, texts, blobs] = batch.columns() else { panic!("five columns") };
    let all = |rows: [bool; 3]| rows.map(|is_null| !is_null);
    assert_eq!([0, 1, 2].map(|row| integers.is_valid(row)), all([false, true, false]));
    assert_eq!([0, 2].map(|row| integers.as_primitive::<Int64Type>().value(row)), [9_007_199_254_740_993, -1]);
    assert_eq!([0, 2].map(|row| reals.as_primitive::<Float64Type>().value(row).to_bits()), [0.5, f64::NEG_INFINITY].map(f64::to_bits));
    assert_eq!(
        [0, 1, 2].map(|row| numbers.as_primitive::<Float64Type>().value(row).to_bits()),
        [1.0, 2.5, 9_007_199_254_740_992.0].map(f64::to_bits)
    );
    assert_eq!(([0, 2].map(|row| texts.as_string::<i32>().value(row)), texts.is_null(1)), (["ü", ""], true));
    assert_eq!(([0, 2].map(|row| blobs.as_binary::<i32>().value(row)), blobs.is_null(1)), ([&[0, 255][..], &[]], true));
}

#[tokio::test]
async fn a_column_without_values_has_the_type_that_is_declared() {
    let server = Server::open().await;
    server.run("create table t(a bigint, b varchar(3), c blob, d double, e)").await.rows();
    let expected =
        [("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Binary), ("d", DataType::Float64), ("e", DataType::Null)];
    for sql in ["select * from t", "select * from t union all select null, null, null, null, null"] {
        let reply = post(&server, &ARROW, sql).await;
        let rows: usize = batches(&reply).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, usize::from(sql.len() > 20));
        assert_eq!(types(&reply), named(&expected), "{sql}");
    }
}

#[tokio::test]
async fn what_no_type_holds_is_refused_before_anything_is_sent() {
    let server = Server::open().await;
    for values in ["1), ('x'", "x'00'), ('x'", "9007199254740993), (0.5", "0.5), (9007199254740993", "0.5), ('x'"] {
        let reply = post(&server, &ARROW, &format!("select column1 as a from (values ({values}))")).await;
        assert_eq!(reply.problem(), problem(400, "sql-statement"), "{values}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("column `a`"), "{values}");
    }
    let cast = post(&server, &ARROW, "select cast(column1 as text) as a from (values (1), ('x'))").await;
    assert_eq!(types(&cast), named(&[("a", DataType::Utf8)]));
}

#[tokio::test]
async fn a_large_table_comes_in_batches() {
    let server = Server::open().await;
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select i, 'some text for size' as t from n";
    let batches = batches(&post(&server, &ARROW, many).await);
    assert!(batches.len() > 2, "{}", batches.len());
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 100_000);
    let last = batches.last().unwrap();
    assert_eq!(last.column(0).as_primitive::<Int64Type>().value(last.num_rows() - 1), 100_000);
}

#[tokio::test]
async fn statements_that_write_and_several_are_refused() {
    let server = Server::open().await;
    server.run("create table t(a)").await.rows();
    assert_eq!(post(&server, &ARROW, "insert into t values (1) returning a").await.problem(), problem(403, "sql-forbidden"));
    assert_eq!(post(&server, &ARROW, "select 1; select 2").await.problem(), problem(400, "bad-request"));
    assert_eq!(post(&server, &ARROW, "pragma foreign_keys = on").await.problem().0 / 100, 4);
    let reply = server.ask("GET", "/apps/orders/sql?q=select+count(*)+as+n+from+t", &ARROW, "").await;
    assert_eq!(batches(&reply)[0].column(0).as_primitive::<Int64Type>().value(0), 0);
}
