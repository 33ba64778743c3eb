#!/usr/bin/env bash
# Saves what is in a cluster, as far as it still answers: every provider's `collect`, run where the cluster can be reached.
#
#   e2e/collect.sh FOLDER      events.txt, databases.yaml, objects/ with the logs of all containers, and store.txt, a listing of MinIO's buckets
set -uo pipefail

folder=$1
mkdir -p "$folder"

ask() { kubectl --request-timeout=20s "$@" 2>&1 || true; }
s3() { kubectl --request-timeout=20s exec --namespace minio deployment/client -- curl --config /etc/s3/curlrc "http://minio:9000/$1" 2>&1 || true; }

ask get events --all-namespaces --sort-by .lastTimestamp >"$folder/events.txt"
ask get bucketdatabases --all-namespaces --output yaml >"$folder/databases.yaml"
ask cluster-info dump --all-namespaces --output-directory "$folder/objects" >"$folder/dump.txt"

# A container that was restarted said why in the log before.
while read -r namespace pod restarts; do
  [[ $restarts == *[1-9]* ]] || continue
  ask logs --previous --all-containers --prefix --namespace "$namespace" "$pod" >"$folder/objects/$namespace/$pod/previous.txt"
done < <(ask get pods --all-namespaces --no-headers --output \
  'custom-columns=:.metadata.namespace,:.metadata.name,:.status.containerStatuses[*].restartCount')

# One object a line.
{
  buckets=$(s3 '')
  echo "$buckets"
  while read -r bucket; do
    echo "bucket $bucket"
    s3 "$bucket?list-type=2" | sed 's/<Contents>/\n  &/g; s/<\/ListBucketResult>/\n/'
  done < <(grep -oP '<Bucket><Name>\K[^<]*' <<<"$buckets")
} >"$folder/store.txt"
rmdir "$folder/objects" 2>/dev/null || true
