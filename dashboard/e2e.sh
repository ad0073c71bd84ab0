#!/usr/bin/env bash
# Drives real nodes through the dashboard, in the system's Chromium: dashboard/e2e.sh [ARGUMENTS OF PLAYWRIGHT]
# The binary: RATEQUEUE_BINARY, else target/debug/ratequeue. It serves the dashboard that was in dist when it was built;
# with DASHBOARD_DIST=1 the page comes from dist as it is now.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'e2e: %s\n' "$*" >&2; }

export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$CHROMIUM" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing chromium"
    apt-get install -y -qq chromium >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
  else
    say "chromium is missing: install the package chromium (apt-get install chromium), or set CHROMIUM"
    exit 1
  fi
fi

command -v npm >/dev/null || { say "npm is missing: install Node.js 20.19 or newer"; exit 1; }
RATEQUEUE_BINARY=$(realpath "${RATEQUEUE_BINARY:-../target/debug/ratequeue}")
[ -x "$RATEQUEUE_BINARY" ] || { say "no ratequeue binary: run cargo build, or set RATEQUEUE_BINARY"; exit 1; }

# A copy, so that a build in the meantime does not change what is tested.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$RATEQUEUE_BINARY" "$work/ratequeue"
export RATEQUEUE_BINARY="$work/ratequeue"

./install.sh
npx playwright test "$@"
