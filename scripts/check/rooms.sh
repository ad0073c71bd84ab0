#!/usr/bin/env bash
# The rooms of a crate: each may import only itself and the rooms named before it. A room is a folder, or a file beside them.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail=0
# rooms SOURCE-ROOT ROOM...: from the lowest to the highest. The root file of the crate stands above all of them.
rooms() {
  local root=$1 below=" " room file line path; shift
  for room in "$@"; do
    below+="$room "
    while IFS=: read -r file line path; do
      case $below in *" $path "*) ;; *) echo "rooms: $file:$line: $room may not import $path"; fail=1 ;; esac
    done < <(grep -rnoE '^[^/]*\bcrate::[a-z]\w*' "$root/$room" "$root/$room.rs" --include='*.rs' 2>/dev/null |
      sed -E 's/^([^:]*:[0-9]+:).*crate::/\1/')
  done
  for file in "$root"/*; do
    room=$(basename "${file%.rs}")
    case " lib main suite $* " in *" $room "*) ;; *) echo "rooms: $file is in no room"; fail=1 ;; esac
  done
}

# without ROOM WORD...: what no code of a room may name.
without() {
  local room=$1 words; shift
  words=$(IFS='|'; echo "$*")
  while read -r hit; do
    echo "rooms: $hit: ${room#src/} may not name $words"; fail=1
  done < <(grep -rnE "\b($words)" "$room" --include='*.rs' | grep -vE '^[^:]*:[0-9]+: *//' | cut -d: -f1,2)
}

rooms limiter/src caps model limit collections state lease commands
rooms raft/src caps node error health timing transport time_left format replica checkpoint replay consensus propose group peers
rooms src config audit node ops service http run cli
without src/service axum clap http:: StatusCode hyper
without src/ops axum clap http:: StatusCode hyper
exit $fail
