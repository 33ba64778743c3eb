#!/usr/bin/env bash
# Makes the operator's image. It needs no Docker engine; the Dockerfile makes the same with one.
#
#   e2e/image.sh                       builds the program and packs it
#   e2e/image.sh program               only builds the program, and prints where it lies
#   e2e/image.sh ready                 only says whether it could be built for ARCH here
#   e2e/image.sh root BINARY FOLDER    only lays the image's two layers out, in FOLDER/base and FOLDER/program
#
#   PROFILE=release|dev   cargo's profile
#   ARCH=amd64|arm64      another one than the machine's needs Debian's cross compiler (gcc-aarch64-linux-gnu) and rustup's target
#   IMAGE=name:tag        buckethead:VERSION, or buckethead:dev
#   PUSH=1                pushes to the registry that IMAGE names, instead of writing target/image/buckethead-PROFILE-ARCH.tar
#   BINARY=path           packs this program instead of building one
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "image: $*" >&2; }
megabytes() { echo "$((($1 + 999999) / 1000000)) MB"; }

machine=$(uname -m)
case ${ARCH:=${machine/x86_64/amd64}} in
  amd64) cpu=x86_64 ;;
  arm64 | aarch64) ARCH=arm64 cpu=aarch64 ;;
  *) say "no image for the architecture $ARCH" && exit 2 ;;
esac
export ARCH

root() { # binary folder
  mkdir -p "$2/program"
  # Names stay, so that a panic can say where it came from; line tables would double the size.
  "$cpu-linux-gnu-strip" --strip-debug -o "$2/program/buckethead" "$1"
  chmod 755 "$2/program/buckethead"
  "$here/root.sh" "$2/base" "$1"
}

ready() {
  local target=$cpu-unknown-linux-gnu
  [[ $cpu != "$machine" ]] || return 0
  [[ -d $(rustc --print target-libdir --target "$target") ]] ||
    { say "Rust's standard library for $target is missing: rustup target add $target" && exit 1; }
  command -v "$cpu-linux-gnu-gcc" >/dev/null ||
    { say "the cross compiler is missing: apt-get install gcc-${cpu/_/-}-linux-gnu libc6-dev-$ARCH-cross" && exit 1; }
}

build() {
  local options=(--locked --profile "$PROFILE" --bin buckethead) folder=${CARGO_TARGET_DIR:-target} target=$cpu-unknown-linux-gnu
  # Kernels for this architecture have pages of 4, 16 or 64 KiB. The allocator ends the program where they are larger than it was built for.
  [[ $cpu != aarch64 ]] || export JEMALLOC_SYS_WITH_LG_PAGE=16
  if [[ $cpu != "$machine" ]]; then
    ready
    options+=(--target "$target")
    folder+=/$target
    # What links, and what compiles and packs the C code of SQLite, the allocator and the ciphers.
    local name=${target//-/_}
    export "CARGO_TARGET_${name^^}_LINKER=$cpu-linux-gnu-gcc" "CC_$name=$cpu-linux-gnu-gcc" "AR_$name=$cpu-linux-gnu-ar"
  fi
  cargo build "${options[@]}"
  BINARY=$folder/${PROFILE/dev/debug}/buckethead
}

if [[ ${1:-} == root ]]; then
  root "$2" "$3"
  exit
fi

cd "$here/.."
PROFILE=${PROFILE:-release}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
if [[ ${1:-} == ready ]]; then
  ready
  exit
fi
if [[ ${1:-} == program ]]; then
  build
  echo "$BINARY"
  exit
fi
tag=$version
[[ $PROFILE != dev ]] || tag=dev
IMAGE=${IMAGE:-buckethead:$tag}
[[ -n ${BINARY:-} ]] || build

work=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
root "$BINARY" "$work"

out=push
if [[ -z ${PUSH:-} ]]; then
  out=target/image/buckethead-$PROFILE-$ARCH.tar
  mkdir -p target/image
fi
"$here/pack.sh" "$IMAGE" "$out" "$work/base" "$work/program" -- \
  --set-platform "linux/$ARCH" --user 65532:65532 --workdir / --entrypoint /buckethead --exposed-ports 8080/tcp \
  --label org.opencontainers.image.title=buckethead \
  --label "org.opencontainers.image.description=SQLite databases in memory and kept in your bucket" \
  --label org.opencontainers.image.licenses="$(sed -n '/^\[workspace.package\]/,/^\[/s/^license = "\(.*\)"/\1/p' Cargo.toml)" \
  --label org.opencontainers.image.version="$version" \
  --label org.opencontainers.image.revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
say "$IMAGE for linux/$ARCH: $(megabytes "$(du --bytes --summarize "$work" | cut -f1)") unpacked"
if [[ $out != push ]]; then
  say "$(megabytes "$(stat --format %s "$out")") as an archive"
  echo "$out"
fi
