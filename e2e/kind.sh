#!/usr/bin/env bash
# A Kubernetes cluster by kind, where a Docker engine answers. The commands are those of e2e/cluster.sh.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../testbench/tools.sh
name=buckethead-e2e-${CLUSTER:-$(cksum <<<"$here" | cut -d' ' -f1)}
# The keys of the cluster are in there.
dir=${XDG_STATE_HOME:-$HOME/.local/state}/$name

kind() { "$("$tools" kind)/kind" "$@"; }
runs() { kind get clusters 2>/dev/null | grep -qx "$name"; }
inside() {
  env KUBECONFIG="$dir/kubeconfig" KUBECACHEDIR="$dir/home" HELM_CACHE_HOME="$dir/home" HELM_CONFIG_HOME="$dir/home" HELM_DATA_HOME="$dir/home" \
    PATH="$("$tools" k8s):$("$tools" helm):$PATH" "$@"
}
load() {
  local archive
  for archive; do kind load image-archive --name "$name" "$archive"; done
}

up() {
  local images
  images=$("$here/images.sh")
  runs && return
  mkdir -p "$dir"
  chmod 700 "$dir"
  kind create cluster --name "$name" --config "$here/kind.yaml" --kubeconfig "$dir/kubeconfig" --wait 120s
  load "$images"/{minio,shell}.tar
}

case ${1:-} in
  up) up ;;
  kubeconfig) runs && echo "$dir/kubeconfig" ;;
  run) shift && inside "$@" ;;
  load) shift && load "$@" ;;
  restart)
    case ${2:?a program} in
      containerd | kubelet) docker exec "$name-control-plane" systemctl restart "$2" ;;
      *) echo "e2e: there is nothing to restart that is named $2" >&2 && exit 1 ;;
    esac
    ;;
  collect)
    kind export logs --name "$name" "$2/node" || true
    inside "$here/collect.sh" "$2"
    ;;
  down)
    kind delete cluster --name "$name" --kubeconfig "$dir/kubeconfig"
    rm -rf "$dir"
    ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
