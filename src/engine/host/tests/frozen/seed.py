"""Leaves a bucket as release 0.1.2 of the Python package does, as files: `seed.py FOLDER`. README.md says how it is run."""

import json
import os
import sqlite3
import sys
import tempfile
from pathlib import Path

import boto3
from buckethead import BucketSettings, BucketSQLite

KEY = "apps/orders.db"

settings = BucketSettings.from_env()
bucket = os.environ["R2_BUCKET"]
store = boto3.client(
    "s3",
    endpoint_url=os.environ["R2_ENDPOINT_URL"],
    aws_access_key_id=os.environ["R2_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["R2_SECRET_ACCESS_KEY"],
    region_name="us-east-1",
)
store.create_bucket(Bucket=bucket)

# Small pages, so that the files stay small: the package goes on with whatever it finds.
with tempfile.TemporaryDirectory() as folder:
    begun = sqlite3.connect(f"{folder}/begun.db")
    begun.executescript("pragma page_size = 512; create table t (x)")
    begun.close()
    store.put_object(Bucket=bucket, Key=KEY, Body=Path(folder, "begun.db").read_bytes())


def insert(database, row):
    database.connection.execute("insert into t values (?)", (row,))
    database.connection.commit()


with BucketSQLite(settings.to_bucket_config()) as database:
    insert(database, 1)
    database.kv.set("greeting", "grüße")
with BucketSQLite(settings.to_bucket_config()) as database:
    database.branches.create("theirs")
    database.branches.switch("theirs")
    insert(database, 2)
    insert(database, 3)
    database.branches.switch("main")
    insert(database, 4)

home = Path(sys.argv[1])
metadata = {}
for listed in store.list_objects_v2(Bucket=bucket)["Contents"]:
    key = listed["Key"]
    found = store.get_object(Bucket=bucket, Key=key)
    path = home / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found["Body"].read())
    if found["Metadata"]:
        metadata[key] = found["Metadata"]
(home / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
