#!/usr/bin/env bash
# Sends requests that schemathesis makes up from the OpenAPI document to a server, and compares its replies with the document.
#
#   testbench/schemathesis.sh PROGRAM FOLDER     the built `buckethead`, and where reports may lie; both absolute
#
# SCHEMATHESIS_SECONDS (300) bounds it, SCHEMATHESIS_SEED (1) decides what is sent. What is not checked stands in schemathesis.toml, with reasons.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$1 place=$2
seconds=${SCHEMATHESIS_SECONDS:-300} seed=${SCHEMATHESIS_SEED:-1}
schemathesis=$("$here/tools.sh" schemathesis)/schemathesis

rm -rf "$place"
mkdir -p "$place/manifests"
# What it remembers of a run lies where it runs.
cd "$place"
cp "$here/../examples/quickstart.yaml" "$place/manifests/"
"$program" dev --manifests "$place/manifests" --data "$place/data" --listen 127.0.0.1:0 --s3-listen 127.0.0.1:0 --ready-file "$place/ready" \
  >"$place/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" || true' EXIT
for _ in {1..300}; do
  [[ -e $place/ready ]] && break
  kill -0 "$server"
  sleep 0.1
done
url=$(sed -n 's/.*"api": *"\([^"]*[^"/]\)\/*".*/\1/p' "$place/ready")
base=$url/default/quickstart

# Something of everything.
send() { curl --silent --show-error --fail-with-body --output /dev/null "$@"; }
send --data "create table t(a integer primary key, b); insert into t(b) values (1), (2.5), ('x'), (x'00ff'), (null)" "$base/sql"
send --request PUT --data hello "$base/kv/greeting"
send --json '[{"_id": "ada", "age": 36, "tags": ["maths"]}, {"_id": "bo", "age": 20}]' "$base/docs/people"
send --json '{"path": "age"}' "$base/docs/people/indexes"
send --data-binary hello --header 'Content-Type: text/plain' "$base/files"
send --json '{"name": "kept"}' "$base/branches"
send --request POST "$base/flush"

echo "schemathesis: seed $seed, $seconds s"
"$schemathesis" --config-file "$here/schemathesis.toml" --no-color run "$url/openapi.json" --url "$url" \
  --seed "$seed" --max-time "$seconds" --generation-database none --continue-on-failure --request-timeout 30 --report-dir "$place"
kill -0 "$server" || { echo 'schemathesis: the server ended' >&2 && exit 1; }
