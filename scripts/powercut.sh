#!/usr/bin/env bash
# Cuts the power right after an acknowledgement, and counts what is left.
#
# Killing a process never shows a missing fsync: the kernel still has the data and writes it later. So the data folder
# lives on a small file system in a file; that file is copied while the writer stands still after its acknowledgement. The
# copy has what a disk would have had without power: what was synced, and nothing that only the kernel knew.
#
# Usage: scripts/powercut.sh [runs]       needs root and loop mounts; ends with 77 where that is not possible
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-3}
skip() { echo "powercut: not possible here: $1" >&2; exit 77; }
[ "$(id -u)" = 0 ] || skip "needs root, to mount"
for tool in mkfs.ext4 mount umount truncate cargo; do
  command -v "$tool" >/dev/null || skip "needs $tool"
done

cargo build --quiet -p ratequeue-storage --examples
examples=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/examples

work=$(mktemp -d)
writer=
clean() {
  [ -z "$writer" ] || kill -9 "$writer" 2>/dev/null || true
  umount "$work/before" 2>/dev/null || true
  umount "$work/after" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
mkdir "$work/before" "$work/after"

truncate -s 1M "$work/probe.img" && mkfs.ext4 -q -F "$work/probe.img" 2>/dev/null || skip "mkfs.ext4 failed"
mount -o loop "$work/probe.img" "$work/before" 2>/dev/null || skip "cannot mount a file"
umount "$work/before"

# Writes in mode $1, cuts the power, sets `acked` and `left`.
cut_power() {
  rm -f "$work"/*.img "$work/out" "$work/in"
  truncate -s 96M "$work/disk.img"
  mkfs.ext4 -q -F "$work/disk.img"
  mount -o loop "$work/disk.img" "$work/before"
  sync -f "$work/before"
  mkfifo "$work/in"
  exec 9<>"$work/in"
  "$examples/powercut_writer" "$1" "$work/before/data" <"$work/in" >"$work/out" 2>"$work/err" &
  writer=$!
  until grep -q acked "$work/out"; do
    kill -0 "$writer" 2>/dev/null || { cat "$work/err" >&2; exit 1; }
    sleep 0.005
  done
  kill -STOP "$writer"
  cp --sparse=always "$work/disk.img" "$work/cut.img"
  kill -9 "$writer"
  wait "$writer" 2>/dev/null || true
  writer=
  exec 9>&-
  umount "$work/before"
  mount -o loop "$work/cut.img" "$work/after"
  acked=$(sed -n 's/^acked //p' "$work/out")
  left=$("$examples/powercut_reader" "$1" "$work/after/data" 2>>"$work/err" || echo unreadable)
  umount "$work/after"
}

lost=0
for run in $(seq "$runs"); do
  # After a vote all that was written before it is on the disk, so it has a run of its own.
  for last in store vote; do
    cut_power "$last"
    echo "powercut: run $run, $last: $left of $acked acknowledged records are left"
    [ "$left" = "$acked" ] || { lost=1; cat "$work/err" >&2; }
  done
done

# The test must be able to fail: sled's own flush is not enough, and has to be seen to lose.
cut_power sled-flush
echo "powercut: sled with its own flush alone: $left of $acked are left"
[ "$left" != "$acked" ] || { echo "powercut: nothing was lost without an fsync, so this run proves nothing" >&2; lost=1; }
exit "$lost"
