#!/usr/bin/env bash
# Lays programs into a folder that becomes an image's root, with the shared libraries that they need and what glibc reads.
#
#   e2e/root.sh FOLDER PROGRAM…
#
# The libraries are those of the machine, or Debian's for the cross compiler if ARCH (amd64, arm64) is another one. The programs themselves
# are not copied: whoever calls knows where they belong.
set -euo pipefail

root=$1
shift
case ${ARCH:-$(uname -m)} in
  amd64 | x86_64) triplet=x86_64-linux-gnu ;;
  arm64 | aarch64) triplet=aarch64-linux-gnu ;;
  *) echo "e2e: no image for the architecture ${ARCH:-$(uname -m)}" >&2 && exit 2 ;;
esac

# Where the compiler's linker would find the library.
find_library() {
  local path
  path=$("$triplet-gcc" -print-file-name="$1")
  [[ $path == /* ]] || { echo "e2e: library $1 is missing" >&2 && exit 1; }
  readlink -f "$path"
}

# ldd would run the program, which fails for another architecture.
needed() { readelf --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'; }
loader() { readelf --program-headers --wide "$1" | sed -n 's/.*program interpreter: \(.*\)\]$/\1/p'; }

umask 022
folder=$root/lib/$triplet
mkdir -p "$folder" "$root"/etc/ssl/certs
queue=("$@")
while ((${#queue[@]})); do
  file=${queue[0]}
  queue=("${queue[@]:1}")
  for library in $(needed "$file"); do
    [[ ! -e $folder/$library ]] || continue
    path=$(find_library "$library")
    install -m 755 "$path" "$folder/$library"
    queue+=("$path")
  done
done
for program; do
  path=$(loader "$program")
  [[ -n $path && ! -e $root$path ]] || continue
  mkdir -p "$root${path%/*}"
  install -m 755 "$(find_library "${path##*/}")" "$root$path"
done

echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
printf '%s\n' root:x:0:0::/:/sbin/nologin nonroot:x:65532:65532::/:/sbin/nologin >"$root/etc/passwd"
printf '%s\n' root:x:0: nonroot:x:65532: >"$root/etc/group"
# Not the machine's own list, which may hold authorities that only this machine trusts.
cat /usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
for package in libc6 libgcc-s1 ca-certificates; do
  install -D -m 644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done
