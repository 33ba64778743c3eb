#!/usr/bin/env bash
# Installs Debian packages whose program is missing.
#
#   e2e/packages.sh PROGRAM:PACKAGE…      a PROGRAM with a slash in it is the path of a file
set -euo pipefail

missing=()
for pair; do
  program=${pair%%:*}
  [[ $program == /* && -e $program ]] || command -v "$program" >/dev/null || missing+=("${pair##*:}")
done
((${#missing[@]})) || exit 0
echo "e2e: installing ${missing[*]} from Debian" >&2
# Another run may be installing, too.
apt-get update -qq -o DPkg::Lock::Timeout=120 >&2
# The run level keeps a service from being started: each cluster has its own.
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}" >&2
