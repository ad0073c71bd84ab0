#!/usr/bin/env bash
# Runs a cluster on this machine until Ctrl-C: scripts/local-cluster.sh [FILE] [DATA]
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-cluster-configs/one-region.toml}
# Each file has its own: the nodes of another cluster would be refused.
data=${2:-ratequeue-cluster/$(basename "$file" .toml)}
"${CARGO:-cargo}" build --release --locked
exec target/release/ratequeue cluster up --cluster "$file" --data "$data"
