#!/usr/bin/env bash
# Checks the dashboard: packages as locked, lints, types, unit tests, and that a fresh build gives the bytes of dist.
# dashboard/check.sh; it needs Node.js 20.19 or newer, and the npm registry when packages are not installed yet.
set -euo pipefail
cd "$(dirname "$0")"

command -v npm >/dev/null || { echo "check.sh: npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1
npm ci --no-audit --no-fund --loglevel=error
cp package-lock.json node_modules/.installed

npm run --silent lint
npm run --silent types
npm run --silent test

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
DASHBOARD_OUT="$fresh/dist" npm run --silent build -- --logLevel warn
if ! diff -r dist "$fresh/dist" >/dev/null; then
  diff -rq dist "$fresh/dist" >&2 || true
  echo "check.sh: dist is not what the sources give: run npm run build, and commit it" >&2
  exit 1
fi
echo "check.sh: dist is what the sources give"
