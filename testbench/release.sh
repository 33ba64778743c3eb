#!/usr/bin/env bash
# The version of the project, and the files of a release. Nothing is published.
#
#   testbench/release.sh check             the version in Cargo.toml is the one that everything else names; CHANGELOG.md has the form that a release needs
#   testbench/release.sh test              shows on copies of the checkout that `version` leaves nothing out, and that `check` finds what differs
#   testbench/release.sh version X.Y.Z     writes that version everywhere, and moves what is unreleased in CHANGELOG.md below it
#   testbench/release.sh notes [X.Y.Z]     prints what CHANGELOG.md says of a version
#   testbench/release.sh build             makes the files of a release of this commit, in target/release-files
#
#   ARCHES='amd64 arm64'   for which machines
#   PROFILE=release|dev    cargo's profile
#   BINARY=path            packs this program instead of building one; ARCHES must name its architecture alone
#   DOWNLOADS=url          where the files will be had, for the manifest of krew
#   HOMEPAGE=url           where this repository is shown, for that manifest and for links of the notes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

charts=(charts/buckethead charts/buckethead-crds)
crd=crds/buckethead.dev_bucketdatabases.yaml
frozen=src/controller/crd/frozen
out=target/release-files

say() { echo "release: $*" >&2; }
fail() {
  say "$@"
  exit 1
}

current() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml; }

# The workspace's own packages in a lock file: those without a source, but for the fuzzers', whose version is 0.0.0 for ever.
locked() { # file
  awk -v RS= -F '\n' '/^\[\[package\]\]/ && !/\nsource = / && !/\nversion = "0\.0\.0"/ { print $2 " " $3 }' "$1" |
    sed 's/^name = "\(.*\)" version = "\(.*\)"$/\1 \2/'
}

# A line `place version` for all that names the version. What is made of these by `make install-yaml` is compared by `make lint-chart`.
places() {
  local file
  for file in "${charts[@]/%//Chart.yaml}"; do
    sed -nE "s,^(version|appVersion): (.*)$,$file:\1 \2,p" "$file"
  done
  sed -n "s|^      image: buckethead:\(.*\)$|${charts[0]}/Chart.yaml:image \1|p" "${charts[0]}/Chart.yaml"
  sed -n 's|^    "version": "\(.*\)"$|docs/openapi.json \1|p' docs/openapi.json
  for file in Cargo.lock fuzz/Cargo.lock; do locked "$file" | sed "s|^|$file:|"; done
  for file in deploy/install.yaml deploy/kustomize/base/operator.yaml; do
    sed -nE "s|^ *(app.kubernetes.io/version): \"(.*)\"$|$file:\1 \2|p; s|^ *image: \"buckethead:(.*)\"$|$file:image \1|p" "$file" | sort -u
  done
}

check() {
  local version all place found wrong=0
  version=$(current)
  # Not read as it comes: a part of it that failed would go unnoticed.
  all=$(places)
  while read -r place found; do
    [[ $found == "$version" ]] || { say "$place is $found, Cargo.toml says $version" && wrong=1; }
  done <<<"$all"
  check_changelog || wrong=1
  ((!wrong)) || exit 1
}

# What is cut out of it, and what people look for in it.
check_changelog() {
  awk -v version="$(current)" '
    function wrong(what) { printf "release: CHANGELOG.md:%d: %s\n", NR, what > "/dev/stderr"; bad = 1 }
    /^## / {
      part = 0
      if (++sections == 1) { if ($0 != "## [Unreleased]") wrong("the first section is not \"## [Unreleased]\"") }
      else if ($0 !~ /^## \[[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?\] - 20[0-9][0-9]-[01][0-9]-[0-3][0-9]$/) wrong("not \"## [1.2.3] - 2026-01-31\": " $0)
      else if (sections == 2 && $2 != "[" version "]") wrong("the newest version is " $2 ", that of Cargo.toml [" version "]")
    }
    /^### / {
      order = index("|Breaking|Added|Changed|Deprecated|Removed|Fixed|Security|", "|" substr($0, 5) "|")
      if (!order) wrong("no such part: " $0)
      else if (order <= part) wrong($0 " comes too late or twice: Breaking, Added, Changed, Deprecated, Removed, Fixed, Security")
      part = order
    }
    END { exit bad }' CHANGELOG.md
}

notes() { # version or Unreleased
  local found
  found=$(awk -v heading="## [$1]" '/^## / { shown = index($0, heading) == 1; next } shown' CHANGELOG.md)
  [[ $found =~ [^[:space:]] ]] || fail "CHANGELOG.md says nothing of $1"
  # The substitution drops the empty lines at the end.
  sed '/./,$!d' <<<"$found"
}

# Whether $1 comes after $2. A candidate comes before its release.
later() { [[ $1 != "$2" && $(printf '%s\n' "$1" "$2" | tr - '~' | sort --version-sort | tail -n1 | tr '~' -) == "$1" ]]; }

write() { # version
  local last file
  last=$(current)
  [[ $1 =~ ^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-(alpha|beta|rc)\.[0-9]+)?$ ]] || fail "$1 is no version such as 1.2.3 or 1.2.3-rc.1"
  # The first one is the version that the tree was begun with.
  later "$1" "$last" || { [[ $1 == "$last" ]] && ! grep -qF "## [$1]" CHANGELOG.md; } || fail "$1 does not come after $last"
  notes Unreleased >/dev/null

  sed -i "/^\[workspace.package\]/,/^\[/s/^version = .*/version = \"$1\"/" Cargo.toml
  for file in Cargo.lock fuzz/Cargo.lock; do
    awk -v RS= -v ORS='\n\n' -v version="$1" \
      '/^\[\[package\]\]/ && !/\nsource = / && !/\nversion = "0\.0\.0"/ { sub(/\nversion = "[^"]*"/, "\nversion = \"" version "\"") } 1' "$file" |
      sed '$d' >"$file.new"
    mv "$file.new" "$file"
  done
  for file in "${charts[@]/%//Chart.yaml}"; do
    sed -Ei "s/^(version|appVersion): .*/\1: $1/; s/^(      image: buckethead):.*/\1:$1/" "$file"
  done
  sed -i "s/^    \"version\": \".*\"$/    \"version\": \"$1\"/" docs/openapi.json
  sed -i "s/^## \[Unreleased\]$/&\n\n## [$1] - $(date --utc +%F)/" CHANGELOG.md
  testbench/chart.sh render
  # What later definitions must go on accepting.
  cp "$crd" "$frozen/$1.yaml"
}

# The files that Git knows, as they are now, in the folder $1.
copy() {
  mkdir "$1"
  git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from - | tar --extract --directory "$1"
}

try() { (cd "$work/$1" && testbench/release.sh "${@:2}") >"$work/said" 2>&1; }

refuses() { # what it says, what it is, copy, arguments…
  ! try "${@:3}" || fail "$2 is not refused"
  grep -qF -- "$1" "$work/said" || fail "$2 is refused without saying \"$1\": $(cat "$work/said")"
}

test_version() {
  local last file
  last=$(current)
  copy "$work/next"
  # Today's may have nothing unreleased.
  printf '%s\n\n' '# Changelog' '## [Unreleased]' '### Added' '- A line.' "## [$last] - 2026-01-31" '### Fixed' '- Another.' >"$work/next/CHANGELOG.md"
  try next version 987.6.5 || fail "version failed: $(cat "$work/said")"
  try next check || fail "check refuses what version wrote: $(cat "$work/said")"
  # Cargo and Helm agree that nothing was left out.
  (cd "$work/next" && for file in . fuzz; do cargo metadata --quiet --manifest-path "$file/Cargo.toml" --locked --filter-platform x86_64-unknown-linux-gnu --format-version 1 >/dev/null; done) ||
    fail 'version leaves a lock file as it was'
  diff -u <(printf '%s\n' '### Added' '' '- A line.') <(cd "$work/next" && testbench/release.sh notes 987.6.5) || fail 'version does not move what is unreleased'
  cmp "$crd" "$work/next/$frozen/987.6.5.yaml" || fail 'version does not freeze the definition'
  refuses 'nothing of Unreleased' 'a version without changes' next version 987.6.6
  refuses 'does not come after 987.6.5' 'a version twice' next version 987.6.5
  refuses 'does not come after 987.6.5' 'a candidate after its release' next version 987.6.5-rc.1
  refuses 'is no version' 'a version with a letter' next version v988.0.0
  for file in Cargo.toml Cargo.lock fuzz/Cargo.lock "${charts[@]/%//Chart.yaml}" docs/openapi.json deploy/install.yaml deploy/kustomize/base/operator.yaml; do
    cp "$work/next/$file" "$work/kept"
    cp "$file" "$work/next/$file"
    refuses "$last" "$file of another version" next check
    cp "$work/kept" "$work/next/$file"
  done
  sed -i 's/^### Added$/### Novel/' "$work/next/CHANGELOG.md"
  refuses 'no such part: ### Novel' 'a part of no known name' next check
}

# Krew can unpack no links, so archives have the program once; under the name of a plugin it is one.
krew() { # version, then pairs of an architecture and its archive…
  local url=${DOWNLOADS:-https://downloads.example/buckethead/v$1} version=$1
  shift
  cat <<YAML
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: buckethead
spec:
  version: v$version
  homepage: ${HOMEPAGE:-https://buckethead.dev}
  shortDescription: SQLite databases in memory, kept in your bucket
  description: |
    Asks databases that buckethead hosts in this cluster, and works with their branches, files and
    states. The operator has to be installed; the plugin is the same program, and needs the rights
    of whoever runs it alone.
  platforms:
YAML
  while (($#)); do
    cat <<YAML
    - selector:
        matchLabels:
          os: linux
          arch: $1
      uri: $url/$2
      sha256: $(sha256sum "$out/$2" | cut -d' ' -f1)
      files:
        - from: ${2%.tar.gz}/buckethead
          to: kubectl-buckethead
        - from: ${2%.tar.gz}/LICENSE
          to: .
      bin: kubectl-buckethead
YAML
    shift 2
  done
}

# The archive $1.tar.gz of the folder $2 by that name: the same bytes from the same files, whoever packs them and when.
archive() {
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go-w --format=gnu --directory "$2" "$1" | gzip --no-name --best >"$out/$1.tar.gz"
}

pack() { # version arch
  local binary name=buckethead-$1-linux-$2 image machine
  binary=${BINARY:-$(ARCH=$2 e2e/image.sh program)}
  case $2 in
    amd64) machine='X86-64' ;;
    arm64) machine=AArch64 ;;
  esac
  readelf --file-header --wide "$binary" | grep -q "Machine: .*$machine" || fail "$binary is no program for $2"
  ARCH=$2 e2e/image.sh root "$binary" "$work/root-$2"
  mkdir -p "$work/$name"
  # Archive and image have the same program.
  cp "$work/root-$2/program/buckethead" LICENSE README.md "$work/$name/"
  case $2-$(uname -m) in
    amd64-x86_64 | arm64-aarch64)
      [[ $("$work/$name/buckethead" --version) == "buckethead $1" ]] || fail "$binary is not of version $1"
      ;;
  esac
  archive "$name" "$work"
  image=$(BINARY=$binary ARCH=$2 IMAGE=buckethead:$1 e2e/image.sh)
  mv "$image" "$out/buckethead-$1-image-linux-$2.tar"
}

# What the program is made of: its crates, without those that only tests need.
bill() { # version
  local source=$work/source tools
  tools=$(testbench/tools.sh bill)
  # It writes beside every manifest.
  mkdir "$source"
  git archive HEAD | tar --extract --directory "$source"
  (cd "$source" && "$tools/cargo-cyclonedx" cyclonedx --quiet --quiet --format json --spec-version 1.5 --target x86_64-unknown-linux-gnu --override-filename bill)
  # Where the copy lay tells nobody anything.
  sed "s,$source,/buckethead,g" "$source/bill.json" >"$out/buckethead-$1.cdx.json"
}

build() {
  local version tags tag arch chart pairs=()
  version=$(current)
  check
  [[ -z $(git status --porcelain) ]] || fail "the checkout has changes that are not committed: $(git status --porcelain | head -n3)"
  tags=$(git tag --points-at HEAD --list 'v*')
  if [[ -n $tags ]]; then
    grep -qxF "v$version" <<<"$tags" || fail "this commit is tagged $(xargs <<<"$tags"), and its version is $version"
    tag=$version
  else
    say "this commit is not tagged v$version: a rehearsal"
    tag=$version
    grep -qF "## [$version]" CHANGELOG.md || tag=Unreleased
  fi
  for arch in ${ARCHES:=amd64 arm64}; do
    [[ $arch == @(amd64|arm64) ]] || fail "no release for $arch"
    # Now, not after half an hour of the other one.
    [[ -n ${BINARY:-} ]] || ARCH=$arch e2e/image.sh ready || fail "cannot build for $arch here; ARCHES names those to build for"
  done
  [[ -z ${BINARY:-} || $ARCHES != *' '* ]] || fail 'BINARY is a program of one architecture: name it in ARCHES'
  e2e/packages.sh readelf:binutils /usr/share/ca-certificates/mozilla:ca-certificates

  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
  export SOURCE_DATE_EPOCH PROFILE=${PROFILE:-release}
  # Where it was built must not decide about the program's bytes.
  [[ $PROFILE != release ]] || export RUSTFLAGS="--remap-path-prefix=$PWD=/buckethead --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  rm -rf "$out"
  mkdir -p "$out"
  notes "$tag" >"$out/release-notes.md"
  # Shown apart from the repository, links into it need its address.
  [[ -z ${HOMEPAGE:-} ]] || sed -Ei "s,]\(((docs|charts|deploy)/),]($HOMEPAGE/blob/v$version/\1,g" "$out/release-notes.md"
  for arch in $ARCHES; do
    pack "$version" "$arch"
    pairs+=("$arch" "buckethead-$version-linux-$arch.tar.gz")
  done
  for chart in "${charts[@]}"; do
    packed_chart "$chart" "$version"
  done
  cp deploy/install.yaml "$crd" "$out/"
  krew "$version" "${pairs[@]}" >"$out/buckethead.yaml"
  bill "$version"
  (cd "$out" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
  say "buckethead $version for $ARCHES is in $out:"
  (cd "$out" && du --apparent-size --human-readable -- * >&2)
}

# Helm notes when each file was written, which is another time in each checkout.
packed_chart() { # chart version
  local copy=$work/charts
  mkdir -p "$copy"
  git archive HEAD "$1" | tar --extract --directory "$copy"
  "$(testbench/tools.sh helm)/helm" package "$copy/$1" --destination "$out" >/dev/null
  [[ -f $out/${1##*/}-$2.tgz ]] || fail "helm did not package $1 as $2"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-release.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

case ${1:-} in
  check | build) "$1" ;;
  test) test_version ;;
  version) write "${2:?which version}" ;;
  notes) notes "${2:-$(current)}" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
