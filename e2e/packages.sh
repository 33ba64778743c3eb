#!/usr/bin/env bash
# Installs Debian packages whose program is missing.
#
#   e2e/packages.sh PROGRAM:PACKAGE…      a PROGRAM with a slash in it is the path of a file
set -euo pipefail

look() {
  missing=()
  local pair program
  for pair; do
    program=${pair%%:*}
    [[ $program == /* && -e $program ]] || command -v "$program" >/dev/null || missing+=("${pair##*:}")
  done
}

look "$@"
((${#missing[@]})) || exit 0
# Another run may be installing, too, and `apt-get update` does not wait.
cache=${BUCKETHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/buckethead}
mkdir -p "$cache"
exec 9>"$cache/packages.lock"
flock 9
look "$@"
((${#missing[@]})) || exit 0
echo "e2e: installing ${missing[*]} from Debian" >&2
apt-get update -qq -o DPkg::Lock::Timeout=120 >&2
# The run level keeps a service from being started: each cluster has its own.
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}" >&2
