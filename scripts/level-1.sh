#!/usr/bin/env bash
# Builds the program as a version that follows feature level 1 only, for the tests of clusters of two versions:
# target/debug/ratequeue-level-1, or with --release one in target/release. The build after it makes target/debug/ratequeue the usual one again.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
case ${1:-} in
  --release) profile=release ;;
  "") profile=debug ;;
  *) echo "usage: scripts/level-1.sh [--release]" >&2; exit 2 ;;
esac
folder=${CARGO_TARGET_DIR:-target}/$profile
"$cargo" build --locked ${1:+"$1"} --features level-1
cp "$folder/ratequeue" "$folder/ratequeue-level-1"
"$cargo" build --locked ${1:+"$1"}
