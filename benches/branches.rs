//! Branches in memory: made, and switched to.

use engine::{MemoryDatabase, MemoryOptions, SqlPool};

use crate::report::{Bound, Report, median};
use crate::{Begun, ROUNDS};

/// About 54 MB.
const FILL: &str = "create table t (id integer primary key, value blob); \
                    with recursive n(i) as (select 1 union all select i + 1 from n where i < 53000) \
                    insert into t select i, randomblob(1000) from n;";
const SIZE: std::ops::Range<u64> = 50_000_000..60_000_000;
const MOST: f64 = 5.0;

pub async fn in_memory(report: &mut Report) {
    let options = MemoryOptions { max_size: 1 << 30, ..MemoryOptions::new(SqlPool::new(2.try_into().unwrap())) };
    let main = MemoryDatabase::new(options.clone()).unwrap();
    main.connect().unwrap().execute_batch(FILL).unwrap();
    assert!(SIZE.contains(&main.size()), "{}", main.size());
    let reader = main.connect().unwrap();
    let rows = || reader.query_row("select count(*), max(id) from t where id >= 53000", [], |row| row.get::<_, i64>(0)).unwrap();

    let (mut made, mut switched) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let begun = Begun::now();
        let branch = MemoryDatabase::fork(&main.pin(), options.clone());
        branch.connect().unwrap().execute_batch("insert into t (value) values (x'00')").unwrap();
        made.push(begun.micros(1) / 1000.0);
        assert_eq!(rows(), i64::try_from(round).unwrap() + 1);

        let begun = Begun::now();
        main.switch(&branch.pin()).await.unwrap();
        assert_eq!(rows(), i64::try_from(round).unwrap() + 2);
        switched.push(begun.micros(1) / 1000.0);
    }
    report.alone("a branch of 54 MB made in memory, with its first commit", "ms", median(&made), Bound::AtMost(MOST));
    report.alone("a switch to it in memory, with its first read", "ms", median(&switched), Bound::AtMost(MOST));
}
