#!/usr/bin/env bash
# The rooms of a crate: each may import only itself and rooms below it, and no circle of files is larger than two.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail=0
# rooms SOURCE-ROOT ROOM...: the rooms from the lowest to the highest. The root file of the crate stands above all of them.
rooms() {
  local root=$1 below=" " room file line path edges=""; shift
  for room in "$@"; do
    below+="$room "
    while IFS=: read -r file line path; do
      case $below in *" ${path%%/*} "*) ;; *)
        echo "rooms: $file:$line: $room/ may not import ${path%%/*}"; fail=1 ;;
      esac
      path=$root/$path; [ -e "$path.rs" ] || path=$path/mod
      [ -e "$path.rs" ] && edges+="${file%.rs} $path"$'\n'
    done < <(grep -rnoE '^[^/]*\bcrate::\w+(::[a-z]\w*)?' "$root/$room" "$root/$room.rs" --include='*.rs' 2>/dev/null |
      sed -E 's/^([^:]*:[0-9]+:).*crate::/\1/; s/::/\//')
  done
  circles "$edges" || fail=1
}
# Two files that import each other count as one; any circle that is left is larger.
circles() {
  awk '$1 != $2 { edge[$1 " " $2] } END {
      for (e in edge) { split(e, f); if ((f[2] " " f[1]) in edge && f[1] < f[2]) {
        if (f[1] in of || f[2] in of) print "x" f[1], "x" f[2] "\n" "x" f[2], "x" f[1]
        of[f[1]] = of[f[2]] = f[1] } }
      for (e in edge) { split(e, f); for (i in f) if (f[i] in of) f[i] = of[f[i]]; if (f[1] != f[2]) print f[1], f[2] } }' <<<"$1" |
    { tsort 2>&1 >/dev/null | sed 's/^tsort: -:/rooms: a circle:/'; } | { ! grep .; }
}

rooms limiter/src caps model limit collections state lease commands
exit $fail
