#!/usr/bin/env bash
# Checks the Helm charts, and renders what is kept of them.
#
#   testbench/chart.sh check     lints, and compares what they render with what is kept; needs no cluster
#   testbench/chart.sh render    writes deploy/install.yaml, deploy/kustomize/base/, and beside each charts/buckethead/ci/*-values.yaml what it renders to
#   testbench/chart.sh server    shows every rendered object to a real API server (strict, dry run, under restricted PodSecurity)
#
# The rules of Prometheus are checked by promtool, with the tests of charts/buckethead/ci/rules/, and the dashboard by the types that Grafana publishes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

chart=charts/buckethead
base=deploy/kustomize/base
crd=crds/buckethead.dev_bucketdatabases.yaml
tools=$(testbench/tools.sh helm)
dir=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-chart.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# Neither the plugins nor the cluster of whoever runs this may decide about the outcome.
export HELM_CACHE_HOME=$dir/helm HELM_CONFIG_HOME=$dir/helm HELM_DATA_HOME=$dir/helm KUBECONFIG=/dev/null

fail() {
  echo "chart: $*" >&2
  exit 1
}

rendered() { # arguments of `helm template`…
  "$tools/helm" template buckethead "$chart" --namespace buckethead "$@"
}

# For those who do without Helm: the labels are not its own.
without_helm() { # arguments of `helm template`…
  rendered "$@" | sed -E '/^ +(helm\.sh\/chart|app\.kubernetes\.io\/managed-by): /d; /^# Source: /d'
}

namespace_yaml() {
  cat <<'YAML'
---
apiVersion: v1
kind: Namespace
metadata:
  name: buckethead
  labels:
    pod-security.kubernetes.io/enforce: restricted
YAML
}

install_yaml() {
  cat <<'YAML'
# The operator with the default values of charts/buckethead, for those who do without Helm. Written by `make install-yaml`; do not edit.
# Set the image, which is named twice because gc runs it as well, to where your nodes find it, then: kubectl apply --server-side -f install.yaml
YAML
  namespace_yaml
  without_helm
}

# The same as install.yaml, in files that an overlay can tell apart. A base may not name files outside its folder.
kustomize_base() { # folder
  mkdir -p "$1"
  cat >"$1/kustomization.yaml" <<'YAML'
# The operator with the default values of charts/buckethead, to be the base of an overlay such as ../example. Written by `make install-yaml`; do not edit.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - namespace.yaml
  - definition.yaml
  - operator.yaml
YAML
  namespace_yaml >"$1/namespace.yaml"
  without_helm --show-only templates/crds.yaml >"$1/definition.yaml"
  without_helm --set crds.enabled=false >"$1/operator.yaml"
}

# Writes into the folder $1 all that is kept, under the names that it has in the repository.
render() {
  mkdir -p "$1/deploy" "$1/$chart/ci"
  install_yaml >"$1/deploy/install.yaml"
  kustomize_base "$1/$base"
  local values
  for values in "$chart"/ci/*-values.yaml; do
    rendered --values "$values" >"$1/${values%-values.yaml}-rendered.yaml"
  done
}

# What must hold whatever the values are: the kept files show changes, this says which are none.
check_rules() { # file
  local line
  for line in 'type: RollingUpdate' 'maxUnavailable: 0' 'whenUnsatisfiable: ScheduleAnyway' 'runAsNonRoot: true' 'type: RuntimeDefault' 'allowPrivilegeEscalation: false' \
    'readOnlyRootFilesystem: true' 'drop: [ALL]' 'path: /livez' 'path: /readyz'; do
    grep -qE "^ +${line//[\[]/\\[}$" "$1" || fail "$1 lacks: $line"
  done
  ! grep -nE "verbs: .*\*|- ['\"]?\*['\"]?$" "$1" || fail "$1: a role with a wildcard"
  # Each list of Secrets would hold the keys of every tenant.
  ! grep -A1 'resources: .*secrets' "$1" | grep 'verbs:' | grep -v ' \[get, create, patch\]$' || fail "$1: other verbs on Secrets than get, create, patch"
}

check_crd() { # chart
  cmp "$crd" "$1/files/$(basename "$crd")" || fail "the copy is stale: run \`make crd\`"
  local found
  # The substitution drops the empty lines at the end.
  found=$("$tools/helm" template x "$1" --show-only templates/crds.yaml | sed -n '/^apiVersion/,$p')
  grep -q '^    helm.sh/resource-policy: keep$' <<<"$found" || fail "an uninstall of $1 would delete every database"
  diff -u <(sed -n '/^apiVersion/,$p' "$crd") <(sed '/^  annotations:$/d; /helm.sh\/resource-policy/d' <<<"$found") ||
    fail "$1 renders another CustomResourceDefinition"
}

# Each alert fires in one test and stays silent in another, has a runbook, and asks for what the program counts.
check_alerts() {
  local promtool alert told alerts tests=("$chart"/ci/rules/*.test.yaml)
  promtool=$(testbench/tools.sh prom)/promtool
  "$promtool" check rules --lint=all --lint-fatal "$chart"/files/rules/*.yaml >"$dir/said" 2>&1 || fail "$(grep -vE '^ *(SUCCESS.*)?$' "$dir/said")"
  "$promtool" test rules "${tests[@]}" >"$dir/said" 2>&1 || fail "$(grep -vE '^ *(SUCCESS.*)?$' "$dir/said")"
  alerts=$(sed -n 's/^      - alert: //p' "$chart"/files/rules/*.yaml | sort)
  for alert in $alerts; do
    for told in 'exp_alerts: \[\]' 'exp_alerts:'; do
      grep -qzP "alertname: $alert\n +$told\n" "${tests[@]}" || fail "$chart/ci/rules has no ${told//\\/} of $alert"
    done
    grep -q "^ *runbook_url: docs/runbooks/$alert\.md$" "$chart"/files/rules/*.yaml || fail "$alert does not name its runbook"
  done
  diff <(echo "$alerts") <(basename --multiple --suffix .md docs/runbooks/*.md | sort) || fail 'an alert without a runbook (<), or a runbook without an alert (>)'
}

# Each record is tested, has a row in docs/, and is used by somebody; nobody asks for one that is not there.
check_records() {
  local record records asked=("$chart"/files/rules/*.yaml "$chart/files/dashboard.json")
  records=$(sed -n 's/^      - record: //p' "$chart"/files/rules/*.yaml | sort)
  [[ -z $(uniq --repeated <<<"$records") ]] || fail "two rules record one name: $(uniq --repeated <<<"$records")"
  for record in $records; do
    grep -q "^ *- expr: .*\b$record\b" "$chart"/ci/rules/*.test.yaml || fail "$chart/ci/rules has no test of $record"
    grep -qF "| \`$record\` |" docs/monitoring.md || fail "docs/monitoring.md does not name $record"
    grep -h "$record" "${asked[@]}" | grep -qv '^      - record: ' || fail "nobody asks for $record"
  done
  diff <(grep -ohE '\w+:buckethead_\w+:\w+' "${asked[@]}" docs/monitoring.md | sort -u) <(echo "$records") || fail 'a record that no rule makes (<)'
}

# What rules and the dashboard ask for stands in the tables of docs/. The names of records have other ones in them.
check_metrics() {
  local metric
  while read -r metric; do
    grep -qF "| \`$metric\` |" docs/metrics.md || fail "$chart/files asks for $metric, which docs/metrics.md does not name"
  done < <(grep -ohE '[a-z_:]*\bbuckethead_[a-z0-9_:]+' "$chart"/files/rules/*.yaml "$chart/files/dashboard.json" | grep -v : | sed -E 's/_(bucket|sum|count)$//' | sort -u)
}

# The message must name the field, so that whoever reads it knows what to correct.
refuses() { # what the message says, arguments of `helm template`…
  local message
  if message=$(rendered "${@:2}" 2>&1); then fail "the chart accepts ${*:2}"; fi
  grep -qF -- "$1" <<<"$message" || fail "the refusal of ${*:2} does not say \"$1\": $message"
}

check() {
  local each version
  for each in "$chart" "$chart-crds"; do
    "$tools/helm" lint --strict --quiet "$each"
    check_crd "$each"
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
    grep -qx "appVersion: $version" "$each/Chart.yaml" || fail "$each: appVersion is not that of Cargo.toml, $version"
  done
  grep -qx "      image: buckethead:$version" "$chart/Chart.yaml" || fail "$chart: the image in artifacthub.io/images is not that of Cargo.toml, $version"
  for each in "$chart"/ci/*-values.yaml; do "$tools/helm" lint --strict --quiet "$chart" --values "$each"; done

  render "$dir"
  for each in deploy/install.yaml "$chart"/ci/*-values.yaml; do
    each=${each/%-values.yaml/-rendered.yaml}
    diff -u "$each" "$dir/$each" || fail "$each is stale: run \`make install-yaml\`"
    check_rules "$dir/$each"
  done
  diff -ur "$base" "$dir/$base" || fail "$base is stale: run \`make install-yaml\`"
  ! grep -n 'kind: ClusterRole' "$chart/ci/namespaced-rendered.yaml" || fail 'the namespaced form asks for rights on the cluster'

  rendered --set tls.secretName=own | grep -q -- '--public-url=https://buckethead\.buckethead\.svc$' || fail 'the URL is not that of TLS'
  [[ $(rendered --set tls.secretName=own | grep -c '^ *scheme: HTTPS$') == 2 ]] || fail 'not both probes speak TLS'
  rendered --set service.port=8080 | grep -q -- '--public-url=http://buckethead\.buckethead\.svc:8080$' || fail 'the URL lacks the port'

  # Jobs of gc have the image, too.
  [[ $(rendered --set global.imageRegistry=mirror.example | grep -c 'mirror\.example/buckethead:') == 2 ]] || fail 'the registry is not that of both images'

  "$(testbench/tools.sh dashboard)/dashboard" <"$chart/files/dashboard.json" >"$dir/said" 2>&1 || fail "$chart/files/dashboard.json: $(cat "$dir/said")"
  check_alerts
  check_records
  check_metrics

  refuses "'/replicas': minimum" --set replicas=-1
  refuses "'/leaseSeconds': minimum" --set leaseSeconds=1
  refuses "'/replicas': got string, want integer" --set-string replicas=1
  refuses "'replicaCount' not allowed" --set replicaCount=1
  refuses "'/image/registry'" --set image.registry=https://example.com
  refuses "'/global/imageRegistry'" --set global.imageRegistry=example.com/
  refuses "invalid propertyName 'app.kubernetes.io/name'" --set 'commonLabels.app\.kubernetes\.io/name=other'
  refuses "'/image/digest'" --set image.digest=sha256:abc
  refuses "'/watchNamespaces'" --set watchNamespaces=apps
  refuses "'/watchNamespaces/0'" --set 'watchNamespaces={Apps}'
  refuses "'/ambientCredentials/0/buckets/0/prefix'" --set-json 'ambientCredentials=[{"namespace": "apps", "buckets": [{"bucket": "b", "prefix": "apps"}]}]'
  refuses "'/ambientCredentials/0/buckets/0': missing property 'prefix'" --set-json 'ambientCredentials=[{"namespace": "apps", "buckets": [{"bucket": "b"}]}]'
  refuses "'/quotas/default/bytes'" --set quotas.default.bytes=much
  refuses "'/quotas': additional properties 'apps' not allowed" --set quotas.apps.databases=1
  refuses "'/publicUrl'" --set publicUrl=databases.example
  refuses "'/logFormat'" --set logFormat=xml
  refuses "'/terminationGracePeriodSeconds'" --set terminationGracePeriodSeconds=5
  refuses "'/tls/secretName'" --set tls.secretName=Own
  refuses "'/tls/certManager/issuerRef/name'" --set tls.certManager.enabled=true
  refuses "'/tls/certManager/dnsNames/0'" --set 'tls.certManager.dnsNames={https://databases.example}'
  refuses "'/tls/certManager/duration'" --set tls.certManager.duration=90d
  refuses "at '/networkPolicy': additional properties 'ingress' not allowed" --set networkPolicy.ingress=x
  refuses "'/networkPolicy/from/0'" --set 'networkPolicy.from[0].cidr=10.0.0.0/8'
  refuses "'/networkPolicy/ports/0'" --set 'networkPolicy.ports={https}'
  refuses "'/metrics/serviceMonitor/interval'" --set metrics.serviceMonitor.interval=often
  refuses "at '/metrics/podMonitor': additional properties 'path' not allowed" --set metrics.podMonitor.path=/metrics
  refuses 'scraped twice' --set metrics.serviceMonitor.enabled=true --set metrics.podMonitor.enabled=true
  refuses 'there is no alert BucketheadUp,' --set metrics.prometheusRule.enabled=true --set 'metrics.prometheusRule.excludeRules={BucketheadUp}'
  refuses "'/metrics/prometheusRule/runbookUrl'" --set metrics.prometheusRule.runbookUrl=docs/runbooks
  refuses "'/metrics/dashboard/labels/grafana_dashboard'" --set metrics.dashboard.labels.grafana_dashboard=true
  refuses "'/extraObjects/0'" --set 'extraObjects[0].kind=ConfigMap'
  refuses "'/service/port'" --set service.port=http
  refuses "'/resources/limits/memory'" --set resources.limits.memory=true
  refuses "'/gcJob/backoffLimit'" --set gcJob.backoffLimit=often
  refuses "at '/gcJob': additional properties 'image' not allowed" --set gcJob.image=other
  refuses "'/extraEnv/0'" --set 'extraEnv[0].value=x'
  refuses '>=1.33' --kube-version 1.32.9
}

server() {
  local line kubectl file namespace definitions said
  # It ends with this program, because its standard input does.
  coproc BENCH { exec testbench/serve.sh k8s; }
  read -r line <&"${BENCH[0]}" || fail 'the API server did not start'
  KUBECONFIG=$(grep -oP '"kubeconfig": "\K[^"]*' <<<"$line")
  kubectl=$(grep -oP '"kubectl": "\K[^"]*' <<<"$line")
  for namespace in buckethead apps staging monitoring; do
    "$kubectl" create namespace "$namespace"
    "$kubectl" label namespace "$namespace" pod-security.kubernetes.io/{enforce,warn}=restricted
  done >/dev/null
  # The kinds of others that the chart has objects of.
  definitions=$(testbench/tools.sh definitions)
  "$kubectl" apply --server-side --filename "$definitions" >/dev/null
  "$kubectl" wait --for=condition=Established --timeout=60s --filename "$definitions" >/dev/null
  render "$dir"
  "$tools/helm" template buckethead-crds "$chart-crds" >"$dir/crds.yaml"
  "$kubectl" kustomize "$base" >"$dir/kustomize.yaml"
  "$kubectl" kustomize "$(dirname "$base")/example" >"$dir/kustomize-example.yaml"
  # The operator's Pod has an image, and the Job of gc has it, too.
  for line in ' image: registry.example/buckethead:1.2.3' ' --gc-job={.*"image":"registry.example/buckethead:1.2.3"'; do
    grep -q -- "$line" "$dir/kustomize-example.yaml" || fail "${base%/*}/example leaves an image as it is: it lacks $line"
  done
  for file in "$dir"/deploy/*.yaml "$dir/$chart"/ci/*.yaml "$dir"/*.yaml; do
    said=$("$kubectl" apply --server-side --dry-run=server --validate=strict --filename "$file" 2>&1) || fail "$said"
    # A Deployment that breaks a rule of PodSecurity is only warned of; its Pods would be refused.
    ! grep '^Warning' <<<"$said" || fail "the API server warns about ${file#"$dir/"}"
    echo "chart: the API server accepts ${file#"$dir/"}, objects: $(wc -l <<<"$said")"
  done
  eval "exec ${BENCH[1]}>&-"
  wait "$BENCH_PID"
}

case ${1:-} in
  check | server) "$1" ;;
  render) render . ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
