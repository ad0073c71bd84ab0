#!/usr/bin/env bash
# docs/openapi.json is what the types say.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo run --quiet --locked -- openapi | diff -u docs/openapi.json - || {
  echo "docs/openapi.json is not what the types say: run make fix" >&2; exit 1; }
