"""What the seed's package finds on each branch; then it makes one of its own, and changes one of ours. Prints JSON."""

import json

from buckethead import BucketSettings, BucketSQLite


def rows(database):
    return [x for (x,) in database.connection.execute("select x from t order by x")]


with BucketSQLite(BucketSettings.from_env().to_bucket_config()) as database:
    seen = {"branches": sorted(database.branches.list()), "main": rows(database)}
    database.branches.switch("ours")
    seen["ours"] = rows(database)
    database.connection.execute("insert into t values (20)")
    database.connection.commit()
    database.branches.create("theirs", from_branch="ours")
    database.branches.switch("theirs")
    database.connection.execute("insert into t values (30)")
    database.connection.commit()
    # Goes on as `main`.
    database.branches.overwrite("main")
    seen["current"] = database.branches.current()
    database.connection.execute("insert into t values (40)")
    database.connection.commit()

print(json.dumps(seen))
