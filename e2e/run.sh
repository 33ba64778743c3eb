#!/usr/bin/env bash
# Runs the scenarios of e2e/scenarios on a cluster of their own, and takes it down, however they end.
#
#   e2e/run.sh [SCENARIO]      all of them, or that of the file SCENARIO.rs in e2e/scenarios or in alone/ there
#
# What a scenario did is in target/e2e/<scenario>/, with the times that it took in times.txt, of which target/e2e/times.txt is the sum; if it failed, also what the cluster held then: logs, events, objects, the store's listing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Some programs choke on a bundle that they cannot read.
unset AWS_CA_BUNDLE

scenarios=${1:+$1::}
# Not the one that somebody plays with. As many scenarios at once as e2e/scenarios/support/scenario.rs lets run.
export CLUSTER=${CLUSTER:-$(cksum <<<"$PWD" | cut -d' ' -f1)-scenarios} RUST_TEST_THREADS=3
# The packages and features of `make test`, so that both use the same build.
cargo=(cargo test --workspace --locked --test e2e)

say() { echo "e2e: $*" >&2; }

part=
# Each step has a process group of its own, which ends at once when we must; bash alone would wait for a command in the foreground.
step() {
  local status=0
  set -m
  "$@" 8>&- &
  part=$!
  set +m
  wait "$part" || status=$?
  part=
  return "$status"
}

finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  if [[ -n $part ]]; then
    kill -TERM -- "-$part" 2>/dev/null || true
    wait "$part" || true
  fi
  e2e/cluster.sh down 8>&- || status=1
  exit "$status"
}

mkdir -p target/e2e
exec 8>target/e2e/lock
flock --nonblock 8 || { say 'another run in this checkout is under way' && exit 1; }

"${cargo[@]}" --no-run
found=$("${cargo[@]}" --quiet -- --list "$scenarios" | grep -c ': test$' || true)
((found)) || { say "there is no scenario ${1:-}" && exit 2; }
# The same image by another name, which the next version of the chart asks for.
renamed() { # archive name
  local folder
  folder=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-renamed.XXXXXX")
  tar --extract --file "$1" --directory "$folder"
  sed -i "s/\"buckethead:dev\"/\"$2\"/" "$folder/manifest.json"
  grep -q "\"$2\"" "$folder/manifest.json" || { say "$1 is not named buckethead:dev" && exit 1; }
  tar --create --file "$1.next" --directory "$folder" --files-from <(ls "$folder")
  rm -r "$folder"
  echo "$1.next"
}

# What took long that others promise a time for, in one list.
times() {
  local file scenario
  for file in target/e2e/*/times.txt; do
    [[ -e $file ]] || continue
    scenario=${file%/*}
    sed "s/^/${scenario##*/}: /" "$file"
  done | tee target/e2e/times.txt | sed 's/^/e2e: /' >&2
}

archive=$(BINARY=${CARGO_TARGET_DIR:-target}/debug/buckethead PROFILE=dev e2e/image.sh)
next=$(renamed "$archive" buckethead:next)
find target/e2e -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +

trap finish EXIT
trap 'exit 130' INT TERM HUP
# What an earlier run may have left, if it was killed.
step e2e/cluster.sh down
step e2e/cluster.sh up
step e2e/cluster.sh load "$archive" "$next"
begun=$SECONDS
step e2e/cluster.sh run "${cargo[@]}" --offline -- "$scenarios"
times
say "scenarios took $((SECONDS - begun)) s"
