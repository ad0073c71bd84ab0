#!/usr/bin/env bash
# Dependencies point one way. Holds the table in ARCHITECTURE.md ("Who may import whom").
set -euo pipefail
cd "$(dirname "$0")/../.."

fail=0
# allowed CRATE-FOLDER NAME...: the only crates of this workspace that it may depend on.
allowed() {
  local folder=$1 crate; shift
  while read -r crate; do
    case " $* " in *" $crate "*) ;; *) echo "layering: $folder/ may not depend on ratequeue-$crate"; fail=1 ;; esac
  done < <(sed -n 's/^ratequeue-\([a-z]*\).*/\1/p' "$folder/Cargo.toml")
}
allowed codec
allowed limiter
allowed storage codec
allowed api limiter
allowed link
allowed raft codec limiter link storage

# only_in CRATE FOLDER: a third-party crate that one folder alone may name.
only_in() {
  local hits
  hits=$(grep -lE "^$1( |\.|=)" ./*/Cargo.toml | grep -v "^./$2/" || true)
  hits+=$(sed -n '/^\[dependencies\]/,$p' Cargo.toml | grep -E "^$1( |\.|=)" || true)
  [ -z "$hits" ] || { echo "layering: only $2/ may depend on $1, not $hits"; fail=1; }
}
only_in openraft raft
only_in sled storage
only_in bincode codec
only_in raft-log storage

exit $fail
