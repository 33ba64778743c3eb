#!/usr/bin/env bash
# A Kubernetes cluster of one node that needs no Docker: the real programs, in namespaces of their own.
#
#   e2e/native.sh up                starts it, unless it runs; says how to use it
#   e2e/native.sh kubeconfig        prints the path of its kubeconfig
#   e2e/native.sh run COMMAND…      runs a command where the cluster can be reached, with KUBECONFIG set, and kubectl and helm in PATH
#   e2e/native.sh load ARCHIVE…     puts images into its registry; Pods pull them by the name in the archive, whatever registry that names
#   e2e/native.sh restart PROGRAM   restarts containerd or kubelet, and waits for that
#   e2e/native.sh collect FOLDER    saves what it said and what is in it
#   e2e/native.sh down              ends it; nothing is left, however far it got
#
# CLUSTER names the cluster, so that several run at once; a checkout has its own by default. It needs root.
#
# Everything happens in one network namespace, in which each cluster has the same addresses and ports, and in mount and PID namespaces that
# end with their first process (e2e/node.sh). So whatever ends that process ends all others, Pods as well, and undoes all mounts. What is left
# to remove is known beforehand: the folder, the network namespace, and the cgroups below one name.
set -euo pipefail
# Some programs choke on a bundle that they cannot read.
unset AWS_CA_BUNDLE

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../testbench/tools.sh
name=buckethead-e2e-${CLUSTER:-$(cksum <<<"$here" | cut -d' ' -f1)}
# Not below /tmp, which may be memory; images and etcd lie here.
dir=/var/tmp/$name
netns=/run/netns/$name

say() { echo "e2e: $*" >&2; }
fail() { say "$*" && exit 1; }

# The process that holds the namespaces. A number alone may by now be another process.
holder() {
  local pid
  pid=$(cat "$dir/holder" 2>/dev/null) || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF " $dir $name " || return 1
  echo "$pid"
}
runs() { [[ -e $dir/ready ]] && holder >/dev/null; }
# What kubectl and helm keep at home is no part of a cluster that begins anew at the same address.
inside() {
  nsenter --net="$netns" env KUBECONFIG="$dir/kubeconfig" KUBECACHEDIR="$dir/home" HELM_CACHE_HOME="$dir/home" HELM_CONFIG_HOME="$dir/home" \
    HELM_DATA_HOME="$dir/home" PATH="$dir/bin:$PATH" "$@"
}

# One command at a time changes a cluster.
lock() {
  local locks=${BUCKETHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/buckethead}/clusters
  mkdir -p "$locks"
  exec 9>"$locks/$name.lock"
  flock 9
}

up() {
  lock
  if ! runs; then
    local begun=$EPOCHREALTIME
    provide
    remove
    trap 'give_up' EXIT
    trap 'exit 130' INT TERM HUP
    start
    trap - EXIT INT TERM HUP
    say "up in $(awk "BEGIN {printf \"%.1f\", $EPOCHREALTIME - $begun}") s"
  fi
  say "KUBECONFIG=$dir/kubeconfig works inside nsenter --net=$netns"
}

give_up() {
  local status=$? saved=$here/../target/e2e/$name
  trap '' INT TERM HUP
  if ((status != 130)); then
    rm -rf "$saved"
    mkdir -p "$saved"
    cp -r "$dir/logs" "$saved/" || true
    say "the cluster did not start; its logs are in $(realpath "$saved/logs")"
  fi
  remove
  exit "$status"
}

# Everything that can take minutes at the first time, before anything runs.
provide() {
  ((EUID == 0)) || fail 'a native cluster needs root'
  "$here/packages.sh" containerd:containerd runc:runc nft:nftables conntrack:conntrack ip:iproute2 openssl:openssl curl:curl \
    iptables:iptables ipset:ipset \
    /usr/lib/cni/ptp:containernetworking-plugins
  k8s=$("$tools" k8s)
  node=$("$tools" node)
  router=$("$tools" router)
  crane=$("$tools" crane)
  helm=$("$tools" helm)
  images=$("$here/images.sh")
}

start() {
  mkdir -p "$dir"/{bin,logs}
  # The keys of the cluster are in there.
  chmod 700 "$dir"
  ln -s "$k8s"/{etcd,kube-apiserver,kubectl} "$node"/{kube-controller-manager,kube-scheduler,kubelet,kube-proxy} "$router/kube-router" "$crane/crane" "$helm/helm" "$dir/bin/"
  ln -s "$images" "$dir/images"
  ip netns add "$name"
  # It writes its number down before it is anything that must be ended. A session of its own: Ctrl-C here is ours to handle.
  (
    echo "$BASHPID" >"$dir/holder"
    exec setsid nsenter --net="$netns" unshare --mount --propagation private --pid --mount-proc --fork --kill-child \
      bash "$here/node.sh" "$dir" "$name" "$here/manifests" 9>&-
  ) </dev/null >"$dir/logs/node.log" 2>&1 &
  local holder=$!
  # It outlives this command, which need not hear of its end.
  disown
  until [[ -e $dir/ready ]]; do
    [[ -d /proc/$holder ]] || fail "$(tail -n 20 "$dir/logs/node.log")"
    sleep 0.1
  done
}

down() {
  lock
  trap '' INT TERM HUP
  local begun=$EPOCHREALTIME
  remove
  say "down in $(awk "BEGIN {printf \"%.1f\", $EPOCHREALTIME - $begun}") s"
}

remove() {
  local pid first
  if pid=$(holder); then
    # The first process of the PID namespace: the kernel ends all others before it is gone.
    first=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true)
    # shellcheck disable=SC2086 # One number, or none yet.
    kill -KILL $first "$pid" 2>/dev/null || true
    for pid in $first "$pid"; do gone "$pid"; done
  fi
  if [[ -e $netns ]]; then ip netns del "$name"; fi
  # `ip` mounts the folder onto itself for the first namespace.
  rmdir /run/netns 2>/dev/null || { [[ -d /run/netns && -z $(ls -A /run/netns) ]] && umount /run/netns 2>/dev/null && rmdir /run/netns; } || true
  cgroups
  rm -rf --one-file-system "$dir"
}

# Until process $1 has ended; a zombie has.
gone() {
  local state
  for _ in {1..300}; do
    state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || true
    [[ -n $state && $state != Z ]] || return 0
    sleep 0.1
  done
  fail "process $1 does not end"
}

# The kernel frees a cgroup a moment after its last process.
cgroups() {
  local left
  for _ in {1..100}; do
    left=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$name")
    [[ -n $left ]] || return 0
    # shellcheck disable=SC2086 # Names of ours, without spaces.
    find $left -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
  done
  fail "cgroups are left: $left"
}

load() {
  runs || fail 'the cluster does not run'
  local archive tag
  for archive; do
    tag=$(tar --extract --to-stdout --file "$archive" manifest.json | sed -n 's/.*"RepoTags":\["\([^"]*\)".*/\1/p')
    # The registry stands for all others, so theirs is no part of the name.
    [[ ${tag%%/*} != *[.:]* || $tag != */* ]] || tag=${tag#*/}
    [[ $tag == */* ]] || tag=library/$tag
    inside "$dir/bin/crane" push --insecure "$archive" "127.0.0.1:5000/$tag" >/dev/null 2>"$dir/logs/load.log" || fail "$(cat "$dir/logs/load.log")"
  done
}

restart() { # program
  local holder first
  case $1 in containerd | kubelet) ;; *) fail "there is nothing to restart that is named $1" ;; esac
  runs || fail 'the cluster does not run'
  holder=$(holder)
  first=$(cat "/proc/$holder/task/$holder/children")
  echo "$1" >"$dir/restart.new"
  mv "$dir/restart.new" "$dir/restart"
  for _ in {1..600}; do
    # It may not have been waiting for a signal.
    kill -USR1 "${first% }" || fail 'the cluster ended'
    sleep 0.1
    [[ -e $dir/restart ]] || return 0
  done
  fail "$1 does not end"
}

collect() { # folder
  mkdir -p "$1"
  cp -r "$dir/logs" "$1/node"
  inside "$here/collect.sh" "$1"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  kubeconfig) runs || fail 'the cluster does not run' && echo "$dir/kubeconfig" ;;
  run) runs || fail 'the cluster does not run' && shift && inside "$@" ;;
  load) shift && load "$@" ;;
  restart) restart "${2:?a program}" ;;
  collect) collect "${2:?a folder}" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
