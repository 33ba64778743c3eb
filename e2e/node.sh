#!/usr/bin/env bash
# The first process of a cluster's namespaces: starts the control plane and the node, and holds them until it is killed.
#
#   e2e/node.sh FOLDER NAME MANIFESTS      only as e2e/native.sh starts it
#
# Ports and addresses are fixed, since nobody else is in the network namespace. What the programs hard-code on disk lies on file systems of
# this mount namespace. When all of it works, FOLDER/ready appears.
set -euo pipefail

dir=$1 name=$2 manifests=$3
# The node's address. Nothing but this namespace routes it; Pods reach it through their gateway.
host=172.31.255.1
export PATH=$dir/bin:$PATH KUBECONFIG=$dir/kubeconfig
declare -A pid=() begun=()

fail() {
  echo "$1" >&2
  [[ -z ${2:-} ]] || tail -n 20 "$dir/logs/$2.log" >&2
  exit 1
}

spawn() { # name program arguments…
  "${@:2}" >>"$dir/logs/$1.log" 2>&1 </dev/null &
  pid[$1]=$!
  begun[$1]=${*@Q}
}

# The program that FOLDER/restart names, as init would: what it started, such as the shims that hold containers, runs on.
restart() {
  local program
  program=$(cat "$dir/restart" 2>/dev/null) || return 0
  kill "${pid[$program]}"
  # Whoever asked asks again, which ends a wait.
  while kill -0 "${pid[$program]}" 2>/dev/null; do wait "${pid[$program]}" || true; done
  eval "spawn ${begun[$program]}"
  rm "$dir/restart"
}

all_run() {
  local program
  for program in "${!pid[@]}"; do
    kill -0 "${pid[$program]}" 2>/dev/null || fail "$program ended" "$program"
  done
}

# Until a command succeeds, for which program $1 gets a minute, as long as all programs run.
await() {
  local deadline=$((SECONDS + 60))
  until "${@:2}" >/dev/null 2>&1; do
    all_run
    ((SECONDS < deadline)) || fail "$1: no success of ${*:2}" "$1"
    sleep 0.1
  done
}

namespaces() {
  # kubelet, containerd, its shims and CNI keep things in fixed places there. Shared among those in here, as volumes need it.
  for folder in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
  mount --make-rshared /
  mkdir -p "$dir"/{etcd,registry,containerd,kubelet,cni,registries/_default} /run/lock /var/lib/minio
  mount --bind "$dir/kubelet" "$(mkdir -p /var/lib/kubelet && echo /var/lib/kubelet)"
  settings
  ip link set lo up
  ip address add "$host/32" dev lo
  # Services are reached from here as well: kube-proxy redirects only what has a way to go.
  ip route add 10.96.0.0/16 dev lo src "$host"
  # Else two nodes on one machine would each take the Pods of the other for leftovers.
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [[ ! -e $hierarchy/cgroup.procs ]] || mkdir -p "$hierarchy/$name"
  done
}

# kubelet insists on these settings of the kernel, which are the machine's: it reads and writes files of ours in their place.
settings() {
  local setting
  for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    mkdir -p "$dir/sys/${setting%/*}"
    cat "/proc/sys/$setting" >"$dir/sys/$setting"
    mount --bind "$dir/sys/$setting" "/proc/sys/$setting"
  done
}

certificates() {
  cd "$dir"
  local new=(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  openssl "${new[@]}" -x509 -days 30 -subj /CN=e2e-ca -keyout ca.key -out ca.crt
  signed() { # name subject alternative names
    openssl "${new[@]}" -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
      -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "${3:-DNS:$1}")
  }
  signed apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:$host,IP:10.96.0.1,IP:127.0.0.1"
  signed kubelet /O=system:nodes/CN=system:node:node "DNS:node,IP:$host"
  signed admin /O=system:masters/CN=admin
  signed controller-manager /CN=system:kube-controller-manager
  signed scheduler /CN=system:kube-scheduler
  signed proxy /CN=system:kube-proxy
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out accounts.key
  openssl pkey -in accounts.key -pubout -out accounts.pub
  local user
  for user in admin kubelet controller-manager scheduler proxy; do
    cat >"$user.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$host:6443", certificate-authority: $dir/ca.crt}}]
users: [{name: $user, user: {client-certificate: $dir/$user.crt, client-key: $dir/$user.key}}]
contexts: [{name: e2e, context: {cluster: e2e, user: $user}}]
current-context: e2e
YAML
  done
  mv admin.kubeconfig kubeconfig
}

control_plane() {
  spawn etcd etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
  await etcd curl --silent --fail --max-time 2 http://127.0.0.1:2379/health
  spawn apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address 0.0.0.0 --advertise-address "$host" --secure-port 6443 \
    --tls-cert-file "$dir/apiserver.crt" --tls-private-key-file "$dir/apiserver.key" --client-ca-file "$dir/ca.crt" \
    --service-account-key-file "$dir/accounts.pub" --service-account-signing-key-file "$dir/accounts.key" \
    --service-account-issuer https://kubernetes.default.svc --authorization-mode Node,RBAC --service-cluster-ip-range 10.96.0.0/16 \
    --kubelet-certificate-authority "$dir/ca.crt" --kubelet-client-certificate "$dir/admin.crt" --kubelet-client-key "$dir/admin.key" \
    --kubelet-preferred-address-types InternalIP --allow-privileged
  await apiserver kubectl get --raw /readyz
  spawn controller-manager kube-controller-manager --kubeconfig "$dir/controller-manager.kubeconfig" --bind-address 127.0.0.1 \
    --leader-elect=false --service-account-private-key-file "$dir/accounts.key" --root-ca-file "$dir/ca.crt" --use-service-account-credentials \
    --kube-api-qps 500 --kube-api-burst 500 # Else its many controllers wait for each other at the start.
  spawn scheduler kube-scheduler --kubeconfig "$dir/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
}

runtime() {
  cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE nobody may protect the pause container from the OOM killer, and runc would fail.
  restrict_oom_score_adj = true
  sandbox_image = "buckethead.test/pause:test"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$dir/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
TOML
  # Our registry stands for every registry, so manifests keep the names of their images.
  printf '[host."http://127.0.0.1:5000"]\n  capabilities = ["pull", "resolve"]\n' >"$dir/registries/_default/hosts.toml"
  # Each Pod has a link of its own to the node, so that all packets pass the node's rules. On a bridge, answers between Pods would pass by
  # them unless the kernel has br_netfilter.
  cat >"$dir/cni/10-e2e.conflist" <<'JSON'
{"cniVersion": "1.0.0", "name": "e2e", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  spawn registry crane registry serve --address 127.0.0.1:5000 --disk "$dir/registry"
  spawn containerd containerd --config "$dir/containerd.toml"
}

images() {
  await registry curl --silent --fail --max-time 2 http://127.0.0.1:5000/v2/
  local archive image
  for archive in "$dir"/images/*.tar; do
    image=${archive##*/}
    crane push --insecure "$archive" "127.0.0.1:5000/${image%.tar}:test" >>"$dir/logs/images.log" 2>&1 || fail 'no images' images
  done
}

node() {
  : >"$dir/resolv.conf"
  cat >"$dir/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $host
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $dir/kubelet.crt
tlsPrivateKeyFile: $dir/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
volumePluginDir: /var/lib/kubelet/volume-plugins
resolvConf: $dir/resolv.conf
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
cgroupRoot: /$name
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
oomScoreAdj: 0
# The disk is the machine's; how full it is, is not ours to repair.
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
YAML
  cat >"$dir/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/24
clientConnection: {kubeconfig: $dir/proxy.kubeconfig}
hostnameOverride: node
# The machine's own limit.
conntrack: {maxPerCore: 0}
oomScoreAdj: 0
YAML
  await containerd ctr --address /run/containerd/containerd.sock version
  spawn kubelet kubelet --kubeconfig "$dir/kubelet.kubeconfig" --config "$dir/kubelet.yaml" --hostname-override node --node-ip "$host"
  spawn proxy kube-proxy --config "$dir/proxy.yaml"
}

# Has packets between Pods obey NetworkPolicies. Routes and Services are others' here.
policies() {
  spawn router kube-router --kubeconfig "$dir/kubeconfig" --hostname-override node --run-firewall=true --run-router=false --run-service-proxy=false \
    --run-loadbalancer=false --service-cluster-ip-range 10.96.0.0/16
  # Its first look at the cluster ends with chains of its own.
  await router bash -c 'iptables --list-rules | grep -q KUBE-ROUTER-FORWARD'
}

namespaces
(certificates) >"$dir/logs/openssl.log" 2>&1 || fail 'no certificates' openssl
runtime
images &
pushed=$!
control_plane
wait "$pushed"
node
kubectl apply --filename "$manifests/coredns.yaml"
await kubelet kubectl wait --for=condition=Ready node/node --timeout=5s
policies
await kubelet kubectl rollout status --namespace kube-system deployment/coredns --timeout=5s
await controller-manager kubectl get serviceaccount default
trap : USR1
touch "$dir/ready"

# As the first process, bash also reaps what others leave. A cluster that lost one of its programs ends: tests would only get lost in it.
while all_run; do
  wait -n "${pid[@]}" || true
  restart
done
