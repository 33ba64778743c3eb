#!/usr/bin/env bash
# Fails if a relative link of a Markdown file leads nowhere. Links to other sites are not looked at.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

broken=0
while IFS=: read -r file target; do
  path=${target%%#*}
  [[ -z $path || -e $(dirname "$file")/$path ]] && continue
  echo "$file: no such file: $target" >&2
  broken=1
done < <(grep -roP --include='*.md' --exclude-dir={.git,target} '\]\(\K(?![a-z]+:)[^) ]+' . || true)
exit "$broken"
