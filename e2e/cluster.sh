#!/usr/bin/env bash
# A cluster with a store in it, from whichever provider there is here: kind where a Docker engine answers, else the native one.
#
#   e2e/cluster.sh up                starts it, unless it runs, and MinIO in it
#   e2e/cluster.sh kubeconfig        prints the path of its kubeconfig
#   e2e/cluster.sh run COMMAND…      runs a command where the cluster can be reached, with KUBECONFIG set, and kubectl and helm in PATH
#   e2e/cluster.sh load ARCHIVE…     makes images known to it, by the names in the archives
#   e2e/cluster.sh restart PROGRAM   restarts a program of the node, containerd or kubelet; containers run on
#   e2e/cluster.sh collect FOLDER    saves what it said and what is in it
#   e2e/cluster.sh down              ends it; nothing is left, however far it got
#
# A provider is a script with these commands: e2e/kind.sh, e2e/native.sh. E2E_PROVIDER=kind|native chooses, CLUSTER names the cluster, so that
# several run at once; a checkout has its own by default.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -z ${E2E_PROVIDER:-} ]]; then
  if timeout 10 docker info >/dev/null 2>&1; then E2E_PROVIDER=kind; else E2E_PROVIDER=native; fi
fi
# What it starts asks for the same cluster.
export E2E_PROVIDER

provider() { "$here/$E2E_PROVIDER.sh" "$@"; }

case $E2E_PROVIDER in
  kind | native) ;;
  *) echo "e2e: there is no provider $E2E_PROVIDER" >&2 && exit 2 ;;
esac
case ${1:-} in
  up)
    provider up
    provider run kubectl apply --filename "$here/manifests/minio.yaml" >&2
    provider run kubectl rollout status --namespace minio deployment/minio deployment/client --timeout=120s >&2
    echo "e2e: try: e2e/cluster.sh run kubectl get pods --all-namespaces" >&2
    echo "e2e: its store is http://minio.minio.svc:9000, with the keys of the Secret minio in the namespace minio; CONTRIBUTING.md tells how to go on with docs/start.md" >&2
    ;;
  kubeconfig | run | load | restart | collect | down) provider "$@" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
