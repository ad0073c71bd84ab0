#!/usr/bin/env bash
# Makes sure that what is needed is there: scripts/setup.sh build | test | sdk
# Says what is missing and how to get it; installs Debian packages only where it may.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

need_cargo() {
  command -v cargo >/dev/null || { say "cargo is missing: install Rust, see https://rustup.rs"; exit 1; }
  command -v cc >/dev/null || install cc build-essential
}

# install PROGRAM-OR-FILE PACKAGE: installs a package, if this is Debian and we are root; otherwise says what to do.
install() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $2"
    apt-get install -y -qq "$2" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$2" >/dev/null; }
  else
    say "$1 is missing: install the package $2 (apt-get install $2)"
    exit 1
  fi
}

need_faketime() {
  ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || install libfaketime libfaketime
}

# Network namespaces, for the tests that cut nodes off from each other.
need_ip() {
  command -v ip >/dev/null || install ip iproute2
}

# Also for the network between regions, tests/testnet: its redirects and cuts, and the relay that delays.
need_regions() {
  PATH=$PATH:/usr/sbin:/sbin command -v nft >/dev/null || install nft nftables
  command -v python3 >/dev/null || install python3 python3
}

# A small disk of its own, scripts/full-disk.sh; and python3, which need_regions has.
need_mount() {
  command -v mount >/dev/null || install mount mount
  command -v unshare >/dev/null || install unshare util-linux
}

# For scripts/chaos: a disk for each node, which loses its power, and a library that lets syncs fail.
need_disks() {
  PATH=$PATH:/usr/sbin:/sbin command -v mkfs.ext4 >/dev/null || install mkfs.ext4 e2fsprogs
  command -v cc >/dev/null || install cc gcc
}

# For the commands of README.md, which use --json: scripts/readme.py.
need_curl() {
  command -v curl >/dev/null || install curl curl
  curl --help all | grep -q -- '--json' || { say "$(curl --version | head -n 1) is too old for README.md: install 7.82 or newer"; exit 1; }
}

need_python() {
  command -v python3 >/dev/null || install python3 python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv python3-venv
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { say "$(python3 --version) is too old for the tests of the Python package: install 3.11 or newer"; exit 1; }
}

# For the dashboard: its packages, and the browser that drives it.
need_node() {
  command -v npm >/dev/null || install npm npm
  node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    { say "$(node --version) is too old for the dashboard: install Node.js 20.19 or newer"; exit 1; }
}

need_browser() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || install chromium chromium
}

case "${1:-}" in
  build) need_cargo ;;
  test) need_cargo; need_faketime; need_ip; need_regions; need_mount; need_disks; need_python; need_curl; need_node; need_browser ;;
  sdk) need_cargo; need_python ;;
  *) say "usage: scripts/setup.sh build|test|sdk"; exit 2 ;;
esac
