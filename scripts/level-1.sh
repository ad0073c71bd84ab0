#!/usr/bin/env bash
# Builds the program as a version that follows feature level 1 only, for the tests of clusters of two versions:
# target/debug/ratequeue-level-1. The build after it makes target/debug/ratequeue the usual one again.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
"$cargo" build --locked --features level-1
cp "$target/debug/ratequeue" "$target/debug/ratequeue-level-1"
"$cargo" build --locked
