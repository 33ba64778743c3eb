"""Writes a bucket by `buckethead dev`, kills it when all is saved, and lays the bucket down as a folder.

proved.py PROGRAM FOLDER: the program of the build that is frozen, and where its objects go. R2_ENDPOINT_URL, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY name a store.
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3

BUCKET, KEY = "frozen", "apps/orders.db"
program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
store = {"endpoint_url": os.environ["R2_ENDPOINT_URL"], "region_name": "us-east-1"}
keys = {"aws_access_key_id": os.environ["R2_ACCESS_KEY_ID"], "aws_secret_access_key": os.environ["R2_SECRET_ACCESS_KEY"]}
s3 = boto3.client("s3", **store, **keys)
s3.create_bucket(Bucket=BUCKET)

home = pathlib.Path(tempfile.mkdtemp())
# Pages of 512 bytes, so that the files stay small.
begun = sqlite3.connect(home / "begun.db")
begun.execute("pragma page_size = 512")
begun.execute("create table t (x)")
begun.close()
s3.put_object(Bucket=BUCKET, Key=KEY, Body=(home / "begun.db").read_bytes())

(home / "manifests").mkdir()
secret = {name.upper(): value for name, value in keys.items()}
spec = {
    "bucket": BUCKET,
    "key": KEY,
    "endpoint": store["endpoint_url"],
    "region": store["region_name"],
    "credentials": {"secretRef": {"name": "bucket"}},
    "keepPrevious": False,
    "minInterval": "0s",
}
for manifest in (
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": secret},
    {"apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": {"name": "orders"}, "spec": spec},
):
    (home / "manifests" / f"{manifest['kind']}.yaml").write_text(json.dumps(manifest))

ready = home / "ready"
places = ["--manifests", home / "manifests", "--data", home / "data", "--ready-file", ready]
dev = subprocess.Popen([program, "dev", *places, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"])
while not ready.exists():
    time.sleep(0.1)
base = json.loads(ready.read_text())["api"] + "/default/orders/"


def ask(route, body, form="application/json"):
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(base + route, data=data, method="POST", headers={"Content-Type": form})
    return urllib.request.urlopen(request).read()


def sql(text):
    ask("sql", text, "text/plain")


try:
    sql("insert into t values (1)")
    ask("flush", "")
    ask("branches", {"name": "next"})
    sql("insert into t values (2)")
    ask("branches/main/overwrite", {"from": "next", "id": "release-7", "keepPreviousAs": "before-release-7"})
    ask("files", "kept", "text/plain")
    sql("insert into t values (2), (3)")
    ask("flush", "")
finally:
    dev.kill()
    dev.wait()

metadata = {}
for listed in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
    found = s3.get_object(Bucket=BUCKET, Key=listed["Key"])
    path = folder / listed["Key"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found["Body"].read())
    if found["Metadata"]:
        metadata[listed["Key"]] = found["Metadata"]
(folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
