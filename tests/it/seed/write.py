"""Fills a database through the seed's package. Its settings come from the environment, its last flush from the end of `with`."""

import json

from buckethead import BucketSettings, BucketSQLite

with BucketSQLite(BucketSettings.from_env().to_bucket_config()) as database:
    database.connection.execute("create table written (x integer, y blob)")
    database.connection.execute("insert into written values (9007199254740993, x'00ff')")
    database.connection.commit()
    database.kv.set("greeting", "grüße")
    database.docs.collection("people").insert({"name": "Ada"}, id="1")
    file = database.files.put(b"hello", filename="hello.txt", mime="text/plain")

print(json.dumps({"file": file}))
