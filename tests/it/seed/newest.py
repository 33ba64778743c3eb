"""Fills a database through the newest version of the seed's package, whose tables are more."""

import json
import os

from buckethead import BucketConfig, BucketSQLite

config = BucketConfig(
    bucket=os.environ["R2_BUCKET"],
    key=os.environ["BUCKETHEAD_KEY"],
    endpoint_url=os.environ["R2_ENDPOINT_URL"],
    access_key_id=os.environ["R2_ACCESS_KEY_ID"],
    secret_access_key=os.environ["R2_SECRET_ACCESS_KEY"],
)
with BucketSQLite(config) as database:
    database.kv.set("greeting", "grüße")
    database.docs.collection("people").insert({"name": "Ada"}, id="1")
    file = database.files.put(b"hello", filename="hello.txt", mime="text/plain")
    tables = [name for (name,) in database.connection.execute("select name from sqlite_schema where type = 'table' order by name")]

print(json.dumps({"file": file, "tables": tables}))
