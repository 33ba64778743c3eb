#!/usr/bin/env bash
# The guides in docs/ as a book.
#
#   testbench/book.sh build      writes it to target/book
#   testbench/book.sh check      builds it elsewhere: fails at warnings, at links that lead nowhere, at pages that its summary lacks, at stale diagrams
#   testbench/book.sh diagrams   writes docs/diagrams/*.svg anew from the *.dot beside them
#   testbench/book.sh resource   prints docs/resource.md, made from the CustomResourceDefinition
#   testbench/book.sh cli FILE   prints docs/cli.md, made from what this program says of itself
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

crd=crds/buckethead.dev_bucketdatabases.yaml

fail() {
  echo "book: $*" >&2
  exit 1
}

build() { # folder
  local tools
  tools=$(testbench/tools.sh book)
  "$tools/mdbook" build docs --dest-dir "$1"
}

check() {
  local dir page said
  dir=$(mktemp -d "${TMPDIR:-/tmp}/buckethead-book.XXXXXX")
  # shellcheck disable=SC2064 # The folder of now.
  trap "rm -rf '$dir'" EXIT
  said=$(build "$dir/book" 2>&1) || fail "mdbook failed: $said"
  ! grep -E '(WARN|ERROR)' <<<"$said" || fail 'mdbook warns'

  while read -r page; do
    grep -qF "]($page)" docs/SUMMARY.md || fail "docs/SUMMARY.md lacks $page"
  done < <(cd docs && find . -name '*.md' ! -name SUMMARY.md -printf '%P\n' | sort)
  python3 testbench/book/links.py "$dir/book" || fail 'links lead nowhere'

  diagrams "$dir"
  for page in docs/diagrams/*.dot docs/diagrams/*.svg; do
    page=$(basename "${page%.*}").svg
    diff -q "docs/diagrams/$page" "$dir/$page" >/dev/null || fail "docs/diagrams/$page is stale: run \`make diagrams\`"
  done
}

diagrams() { # folder
  local tools graph
  tools=$(testbench/tools.sh dot)
  for graph in docs/diagrams/*.dot; do
    "$tools/dot" <"$graph" >"$1/$(basename "${graph%.dot}").svg"
  done
}

resource() {
  local tools
  tools=$(testbench/tools.sh k8s)
  # Nobody is asked: it only reads the file, and prints it as JSON.
  KUBECONFIG=/dev/null "$tools/kubectl" label --local --filename "$crd" --output json printed= | python3 testbench/book/resource.py
}

case ${1:-} in
  build) build "$PWD/target/book" ;;
  check) check ;;
  diagrams) diagrams docs/diagrams ;;
  resource) resource ;;
  cli) python3 testbench/book/cli.py "$2" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
