"""Times the seed's flush, branches and restore on a real store: `seed_store.py ROWS`. Prints seconds, one list for each kind, as JSON.

The database is filled first; before each flush one row changes, so that there is something to upload.
"""

import json
import sys
import time

from buckethead import BucketSettings, BucketSQLite

ROUNDS = 5
rows = int(sys.argv[1])
config = BucketSettings.from_env().to_bucket_config()
took = {"flush": [], "create": [], "switch": [], "overwrite": [], "restore": []}


def timed(kind, call):
    begun = time.perf_counter()
    result = call()
    took[kind].append(time.perf_counter() - begun)
    return result


with BucketSQLite(config) as database:
    sql = database.connection
    sql.execute("create table t(id integer primary key, content blob not null)")
    sql.executemany("insert into t(content) values (randomblob(1000))", (() for _ in range(rows)))
    sql.commit()
    database.force_flush()

    def change():
        database.connection.execute("update t set content = randomblob(1000) where id = 7")
        database.connection.commit()

    for number in range(ROUNDS):
        change()
        timed("flush", database.force_flush)
    for number in range(ROUNDS):
        change()
        timed("create", lambda: database.branches.create(f"b{number}"))
    for number in range(ROUNDS):
        # One there and one back; each finds something to flush.
        change()
        timed("switch", lambda: database.branches.switch(f"b{number}"))
        change()
        timed("overwrite", lambda: database.branches.overwrite("main"))

for number in range(ROUNDS):
    database = BucketSQLite(config)
    timed("restore", database.start)
    assert database.connection.execute("select count(*) from t").fetchone() == (rows,)
    database.stop()
print(json.dumps(took))
