#!/usr/bin/env bash
# Makes the images that a test cluster needs besides the operator's, once, and prints the folder in which their archives lie.
#
#   e2e/images.sh             pause, coredns, minio, shell (busybox, curl, what makes accounts of MinIO, and the suite of libSQL's Go client); all under buckethead.test/
#
# Cached like the tools (testbench/tools.sh), in a folder named after a hash of what goes in.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../testbench/tools.sh
cache=${BUCKETHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/buckethead}/images

# busybox-static: one program is the whole shell. Its own wget cannot look names up, hence curl.
"$here/packages.sh" busybox:busybox-static curl:curl /usr/share/ca-certificates/mozilla:ca-certificates >&2
coredns=$("$tools" coredns)
minio=$("$tools" minio)

hash=$({
  cat "$here"/{images,pack,root}.sh "$here"/{pause,account}/main.go "$here"/../tests/clients/go/*
  basename -a "$coredns" "$minio"
  sha256sum "$(command -v busybox)" "$(command -v curl)"
} | sha256sum | cut -c1-16)
folder=$cache/$hash
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [[ -d $folder ]]; then echo "$folder" && exit; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-images.XXXXXX")
trap 'rm -rf "$work" "$folder.new"' EXIT
trap 'exit 130' INT TERM HUP
rm -rf "$folder.new"
mkdir "$folder.new"

# No descriptor of the lock for what runs in there: a program that stays would hold it.
image() { # name program options of crane mutate…
  install -D -m 755 "$2" "$work/$1/bin/${2##*/}"
  "$here/pack.sh" "buckethead.test/$1:test" "$folder.new/$1.tar" "$work/$1" -- \
    --set-platform "linux/$(go env GOARCH)" --user 65532:65532 --entrypoint "/bin/${2##*/}" "${@:3}" 9>&-
}

CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/programs/pause" "$here/pause/main.go"
image pause "$work/programs/pause"
image coredns "$coredns/coredns"
install -d -m 1777 "$work/minio/tmp"
image minio "$minio/minio"

"$here/root.sh" "$work/shell" "$(command -v curl)"
install -D -m 755 "$(command -v curl)" "$work/shell/bin/curl"
install -d -m 1777 "$work/shell/tmp"
# By the version of its library that MinIO itself has.
(cd "$here/../testbench/tools/minio" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/shell/bin/account" "$(realpath "$here/account/main.go")")
(cd "$here/../tests/clients/go" && CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -o "$work/shell/bin/libsql-go" .)
for applet in $(busybox --list); do
  case $applet in busybox | wget | nslookup) ;; *) ln -s busybox "$work/shell/bin/$applet" ;; esac
done
image shell "$(command -v busybox)" --entrypoint /bin/sh

mv "$folder.new" "$folder"
echo "$folder"
