//! What those who listen cost whoever writes.

use engine::{Database, News, Params, Request, Statement, Transaction, Value, spawn_owned};

use super::hosted::Hosted;
use super::report::{Bound, Report, median, micros, now};

const ROUNDS: usize = 5;
const COMMITS: usize = 20_000;
const ROWS: i64 = 100_000;

const UPSERT: &str = "INSERT INTO t VALUES (?1, ?2) ON CONFLICT(a) DO UPDATE SET b = excluded.b";
/// Far more rows than are told one by one.
const ALL: &str = "UPDATE t SET b = ?1";

/// Two databases take turns: to the changes of one somebody listens.
pub async fn beside_nobody(report: &mut Report) {
    let hosted = Hosted::start().await;
    let (alone, heard) = (hosted.open("alone").await, hosted.open("heard").await);
    for database in [&alone, &heard] {
        run(database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", vec![]).await;
        let rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) INSERT INTO t SELECT i, zeroblob(100) FROM n";
        run(database, rows, vec![Value::Integer(ROWS)]).await;
    }
    let mut listener = heard.listen(None).unwrap();
    assert!(matches!(listener.next().await, Some(News::Begun(_))));
    let told = spawn_owned(async move {
        let mut commits = 0;
        while let Some(news) = listener.next().await {
            commits += usize::from(matches!(&news, News::Commit { changes, .. } if !changes.is_empty()));
            if commits == ROUNDS * (COMMITS + 1) {
                return commits;
            }
        }
        commits
    });
    let (mut ours, mut theirs) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..ROUNDS {
        for (database, times) in [(&heard, &mut ours), (&alone, &mut theirs)] {
            times.0.push(commits(database, round).await);
            times.1.push(rows(database, round).await);
        }
    }
    assert_eq!(told.await.unwrap(), ROUNDS * (COMMITS + 1));
    let nobody = "where nobody listens";
    report.compare("commit of one row that is told", "µs", median(&ours.0), (nobody, median(&theirs.0)), Some(Bound::AtMost(1.5)));
    report.compare("a row of 100,000 in one statement", "µs", median(&ours.1), (nobody, median(&theirs.1)), Some(Bound::AtMost(1.5)));
}

async fn commits(database: &Database, round: usize) -> f64 {
    let begun = now();
    for n in 0..COMMITS {
        let value = (round * COMMITS + n).to_le_bytes().repeat(12);
        let row = i64::try_from(n * 7).unwrap() % ROWS + 1;
        run(database, UPSERT, vec![Value::Integer(row), Value::Blob(value)]).await;
    }
    micros(begun.elapsed(), COMMITS)
}

async fn rows(database: &Database, round: usize) -> f64 {
    let begun = now();
    run(database, ALL, vec![Value::Blob(round.to_be_bytes().repeat(12))]).await;
    micros(begun.elapsed(), usize::try_from(ROWS).unwrap())
}

async fn run(database: &Database, sql: &str, params: Vec<Value>) {
    // A statement alone needs no transaction around it.
    let statements = vec![Statement { sql: sql.to_owned(), params: Params::Positional(params) }];
    database.write(Request { statements, transaction: Transaction::None }).await.unwrap();
}
