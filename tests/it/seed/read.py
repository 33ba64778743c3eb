"""Prints what the seed's package finds in a database."""

import json

from buckethead import BucketSettings, BucketSQLite

with BucketSQLite(BucketSettings.from_env().to_bucket_config()) as database:
    rows = [[x, y.hex()] for x, y in database.connection.execute("select x, y from written")]
    print(json.dumps({"rows": rows, "greeting": database.kv.get("greeting")}))
