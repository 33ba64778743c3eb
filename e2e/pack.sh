#!/usr/bin/env bash
# Packs folders into an image, each as a layer, without a Docker engine.
#
#   e2e/pack.sh NAME OUT FOLDER… -- OPTION…      the options are those of `crane mutate`
#
# OUT is the archive to write, as `docker load` and `kind load image-archive` read it; `push` sends the image to the registry that NAME
# names instead. The same folders give the same image to the byte.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
crane=$("$here/../testbench/tools.sh" crane)/crane
name=$1 out=$2
shift 2

work=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-pack.XXXXXX")
registry=
finish() {
  if [[ -n $registry ]]; then
    kill -KILL "$registry" 2>/dev/null || true
    wait "$registry" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

mkdir "$work/blobs"
layers=()
while [[ $1 != -- ]]; do
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu --file "$work/${#layers[@]}.tar" --directory "$1" .
  layers+=(--new_layer "$work/${#layers[@]}.tar")
  shift
done
shift

# What crane changes lies in a registry, so it gets one for the moment, on a port that the kernel chooses.
: >"$work/log"
setpriv --pdeathsig KILL "$crane" registry serve --address 127.0.0.1:0 --disk "$work/blobs" 2>"$work/log" &
registry=$!
for _ in {1..100}; do
  port=$(sed -n 's/.*serving on port //p' "$work/log")
  [[ -z $port ]] || break
  sleep 0.1
done
draft=127.0.0.1:${port:?the registry does not start}/draft:draft

"$crane" append --oci-empty-base "${layers[@]}" --new_tag "$draft" >/dev/null 2>"$work/append.log" || { cat "$work/append.log" >&2 && exit 1; }
target=()
[[ $out == push ]] || target=(--output "$out.new")
"$crane" mutate "$draft" --tag "$name" "${target[@]}" "$@"
[[ $out == push ]] || mv "$out.new" "$out"
