#!/usr/bin/env bash
# Starts a real API server and a real store on free loopback ports, for as long as somebody holds its standard input open.
#
#   testbench/serve.sh [k8s] [minio | minio-tls | minio-small]      k8s and minio, if none is named
#
# Prints one line of JSON once all of it answers:
#   {"dir": …, "kubeconfig": …, "kubectl": …, "s3": {"endpoint": …, "accessKeyId": …, "secretAccessKey": …, "region": …}}
# With minio-tls the store has a certificate of an authority of its own, which lies at `dir`/ca.crt. With minio-small it has a filesystem of its own
# of a few megabytes, in memory and in a mount namespace, for which the kernel must let us make one: as root, or in a user namespace.
# Then it takes orders, a line each, and answers each with `done`: `stop-apiserver`, `start-apiserver` (at the port it had), and `wipe`, after which
# the API server knows nothing any more; `stop-minio` (asked to end), `kill-minio` and `start-minio`; `fill-minio`, after which minio-small has no
# byte left, and `free-minio`.
# What the service account `audited` of the namespace `rights-system` asks the API server stands in `dir`/audit.log, without bodies.
# At the end of its standard input, or at SIGTERM, SIGINT or SIGHUP, it stops what it started and removes `dir`. So a test that holds the
# other end of a pipe leaves nothing behind, however it ends. The programs die with this one even if it is killed (parent-death signal).
set -euo pipefail
unset AWS_CA_BUNDLE

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=" ${*:-k8s minio} "
dir=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-testbench.XXXXXX")
declare -A pid=() port=()

stop() {
  trap - EXIT
  # Nothing that they hold outlives them, so there is nothing to end gracefully.
  for name in "${!pid[@]}"; do kill -KILL "${pid[$name]}" 2>/dev/null || true; done
  for name in "${!pid[@]}"; do wait "${pid[$name]}" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 0' INT TERM HUP

fail() {
  echo "testbench: $1" >&2
  [[ -z ${2:-} ]] || tail -n 20 "$dir/$2.log" >&2
  exit 1
}

# A port that nobody listens on, below those that the kernel gives to outgoing connections. Another process may still take it before our
# program binds it; then the program ends and `start` tries another.
free_port() {
  local port
  while :; do
    port=$((15000 + (RANDOM * 32768 + RANDOM) % 17000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

spawn() { # name program arguments…
  setpriv --pdeathsig KILL "${@:2}" >"$dir/$1.log" 2>&1 </dev/null &
  pid[$1]=$!
}

# Whether program $1 answers to the command that follows, within 2 minutes, since a machine may be busy. Not if it ends before.
answers() {
  local name=$1 deadline=$((SECONDS + 120))
  shift
  while kill -0 "${pid[$name]}" 2>/dev/null; do
    # Looked at again: a stranger may have answered at a port that our program did not get.
    if "$@" >/dev/null 2>&1 && kill -0 "${pid[$name]}"; then return; fi
    ((SECONDS < deadline)) || fail "$name does not answer" "$name"
    sleep 0.1
  done
  return 1
}

# Starts a program by its function `run_<name>`, which takes a port, again with another port if that one was taken from under it.
start() {
  local name=$1
  for _ in 1 2 3 4 5; do
    port[$name]=$(free_port)
    "run_$name" "${port[$name]}"
    if answers "$name" "probe_$name"; then return; fi
    grep -qi 'address already in use' "$dir/$name.log" || break
  done
  fail "$name ended" "$name"
}

http_ok() { # port path
  local status
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
  # A stranger who took the port may never answer.
  read -r -t 2 status <&3 && [[ $status == HTTP/1.?\ 200* ]]
}

run_etcd() {
  # There are no peers, but they need an address: a socket file spares a second port.
  spawn etcd "$bin/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:$1" --advertise-client-urls "http://127.0.0.1:$1" \
    --listen-peer-urls "unix://$dir/peer:0"
}
probe_etcd() { (http_ok "${port[etcd]}" /health); }

run_apiserver() {
  kubeconfig "$1"
  spawn apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:${port[etcd]}" --secure-port "$1" \
    --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --endpoint-reconciler-type none \
    --tls-cert-file "$dir/server.crt" --tls-private-key-file "$dir/server.key" --client-ca-file "$dir/ca.crt" \
    --service-account-key-file "$dir/accounts.pub" --service-account-signing-key-file "$dir/accounts.key" \
    --service-account-issuer https://kubernetes.default.svc --authorization-mode Node,RBAC \
    --service-cluster-ip-range 10.96.0.0/16 --allow-privileged \
    --audit-policy-file "$dir/audit.yaml" --audit-log-path "$dir/audit.log"
}
# The namespace `default` is made by the server itself, a moment after it calls itself ready.
probe_apiserver() { "$bin/kubectl" --kubeconfig "$dir/kubeconfig" get --raw /readyz && "$bin/kubectl" --kubeconfig "$dir/kubeconfig" get namespace default; }

halt() { # name [signal]
  kill "-${2:-KILL}" "${pid[$1]}"
  wait "${pid[$1]}" 2>/dev/null || true
}

# Starts a program at the port that it had.
again() { # name
  "run_$1" "${port[$1]}"
  answers "$1" "probe_$1" || fail "$1 ended" "$1"
}

obey() { # order
  case $1 in
    stop-apiserver) halt apiserver ;;
    start-apiserver) again apiserver ;;
    wipe)
      halt apiserver
      halt etcd
      rm -rf "$dir/etcd"
      again etcd
      again apiserver
      ;;
    stop-minio) halt minio TERM ;;
    kill-minio) halt minio ;;
    start-minio) again minio ;;
    fill-minio) ! cat /dev/zero 2>/dev/null >"$(filler)" ;;
    free-minio) rm "$(filler)" ;;
    *) fail "unknown order: $1" ;;
  esac
  echo "done"
}

run_minio() {
  MINIO_ROOT_USER=$access_key MINIO_ROOT_PASSWORD=$secret_key MINIO_UPDATE=off MINIO_BROWSER=off \
    spawn minio "${small[@]}" "$minio/minio" server --quiet --address "127.0.0.1:$1" --certs-dir "$dir/minio-certs" "$dir/minio"
}
# As its process sees it.
filler() { echo "/proc/${pid[minio]}/root$dir/minio/filler"; }
probe_minio() {
  if [[ $scheme == https ]]; then
    curl --silent --fail --max-time 2 --cacert "$dir/ca.crt" "https://127.0.0.1:${port[minio]}/minio/health/ready"
  else
    (http_ok "${port[minio]}" /minio/health/ready)
  fi
}

certificates() {
  cd "$dir"
  local new=(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  openssl "${new[@]}" -x509 -days 30 -subj /CN=testbench-ca -keyout ca.key -out ca.crt
  signed() { # name subject extensions
    openssl "${new[@]}" -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf '%s\n' "${@:3}") -out "$1.crt"
  }
  signed server /CN=kube-apiserver extendedKeyUsage=serverAuth subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1
  signed admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out accounts.key
  openssl pkey -in accounts.key -pubout -out accounts.pub
}

audit_policy() {
  cat >"$dir/audit.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["system:serviceaccount:rights-system:audited"]}
  - {level: None}
YAML
}

kubeconfig() { # port
  cat >"$dir/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: testbench, cluster: {server: "https://127.0.0.1:$1", certificate-authority: $dir/ca.crt}}]
users: [{name: admin, user: {client-certificate: $dir/admin.crt, client-key: $dir/admin.key}}]
contexts: [{name: testbench, context: {cluster: testbench, user: admin}}]
current-context: testbench
YAML
}

facts='"dir": "'$dir'"'
if [[ $parts == *' k8s '* ]]; then
  bin=$("$here/tools.sh" k8s)
  (certificates) >"$dir/openssl.log" 2>&1 || fail 'no certificates' openssl
  audit_policy
  start etcd
  start apiserver
  facts+=', "kubeconfig": "'$dir/kubeconfig'", "kubectl": "'$bin/kubectl'"'
fi
if [[ $parts == *' minio'* ]]; then
  minio=$("$here/tools.sh" minio)
  scheme=http small=()
  mkdir -p "$dir/minio-certs"
  if [[ $parts == *' minio-tls '* ]]; then
    scheme=https
    (certificates) >"$dir/openssl.log" 2>&1 || fail 'no certificates' openssl
    cp "$dir/server.crt" "$dir/minio-certs/public.crt"
    cp "$dir/server.key" "$dir/minio-certs/private.key"
  fi
  if [[ $parts == *' minio-small '* ]]; then
    mkdir "$dir/minio"
    small=(unshare --mount)
    ((EUID == 0)) || small+=(--user --map-root-user)
    # The namespace's first program is another one, and a signal at our death is not for its successor.
    small+=(sh -c "mount -t tmpfs -o size=32m tmpfs '$dir/minio' && exec setpriv --pdeathsig KILL \"\$@\"" sh)
  fi
  access_key=testbench secret_key=testbench-secret
  start minio
  facts+=', "s3": {"endpoint": "'$scheme'://127.0.0.1:'${port[minio]}'", "accessKeyId": "'$access_key'", "secretAccessKey": "'$secret_key'", "region": "us-east-1"}'
fi
echo "{$facts}"

# `read` gives way to a signal, which a program in the foreground would not.
while read -r order; do obey "$order"; done
