#!/usr/bin/env bash
# Fills the disk under a node, and looks whether it bears that.
#
# A tmpfs of 120 MiB holds the data of one `ratequeue dev`. Callers with much metadata fill it until acquires are answered
# 507; then a filler file takes nearly all that is left, the node is stopped, started, killed and started again; at last the
# filler is deleted. The node must never end by itself; at 507 releases and expiries go on; a restart becomes ready; and
# when there is room again it grants, without a restart. scripts/full_disk/ calls and checks.
#
# The tmpfs is in a mount namespace of its own, the processes in a namespace that ends with this script: nothing is left.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/full-disk.sh [--binary FILE] [--seconds N] [--callers N]
  --binary FILE   the server: else RATEQUEUE_BIN, else target/debug/ratequeue, else target/release/ratequeue
  --seconds N     how long it takes, about: 60, at least 60
  --callers N     concurrent callers: 16
Ends with 0 when all was as it must be, 1 when not, 2 for wrong arguments, 77 where no disk can be mounted. Needs root.
RATEQUEUE_TEST_NO_MOUNT=1 leaves it out, like the tests that mount, and says so.
END
}
wrong() { echo "full-disk: $1" >&2; usage >&2; exit 2; }
impossible() { echo "full-disk: not possible here: $1. RATEQUEUE_TEST_NO_MOUNT=1 leaves it out" >&2; exit 77; }

mib=120 binary='' seconds=60 callers=16
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --binary | --seconds | --callers) [ $# -ge 2 ] || wrong "$1 needs a value" ;;&
    --binary) binary=$2 ;;
    --seconds) seconds=$2 ;;
    --callers) callers=$2 ;;
    *) wrong "$1 is not known" ;;
  esac
  shift 2
done
for number in "$seconds" "$callers"; do
  [[ "$number" =~ ^[1-9][0-9]{0,4}$ ]] || wrong "$number is not a number of 1 to 99999"
done
[ "$seconds" -ge 60 ] || wrong "--seconds must be at least 60: every phase must see a checkpoint, of one in 8 seconds"
if [ "${RATEQUEUE_TEST_NO_MOUNT:-}" = 1 ]; then
  echo "full-disk: left out: RATEQUEUE_TEST_NO_MOUNT is 1"
  exit 0
fi

if [ -z "$binary" ]; then
  for binary in "${RATEQUEUE_BIN:-}" target/debug/ratequeue target/release/ratequeue; do
    [ -x "$binary" ] && break
  done
fi
[ -f "$binary" ] && [ -x "$binary" ] || wrong "no program ${binary:-ratequeue}: run cargo build, or give --binary"
[ "$(id -u)" = 0 ] || impossible "needs root, to mount"
for tool in unshare mount python3; do
  command -v "$tool" >/dev/null || impossible "needs $tool"
done

work=$(mktemp -d)
inside=
# shellcheck disable=SC2329 # By the trap.
clean() {
  if [ -n "$inside" ]; then
    kill "$inside" 2>/dev/null || true
    wait "$inside" 2>/dev/null || true
  fi
  # Mounted in the namespace only, and gone with it: this is the empty folder underneath.
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/disk"
# A copy, so that a build in the meantime does not change what is tested.
cp "$binary" "$work/ratequeue"

alone=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc)
# shellcheck disable=SC2016 # For the shell inside.
mounted='mount -t tmpfs -o "size=${1}m" ratequeue-full-disk "$2"'
"${alone[@]}" sh -c "$mounted" sh "$mib" "$work/disk" 2>"$work/why" || impossible "$(tail -n 1 "$work/why")"

echo "full-disk: $mib MiB, $callers callers, $seconds s: $binary"
"${alone[@]}" sh -c "$mounted"' && shift && exec python3 -B scripts/full_disk/phases.py "$@"' sh "$mib" "$work/disk" \
  "$work/ratequeue" "$seconds" "$callers" &
inside=$!
code=0
wait "$inside" || code=$?
inside=
exit "$code"
