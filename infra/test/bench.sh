#!/usr/bin/env bash
# `npm run bench`: sets up what is missing, then measures the platform and its peers.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")/.."
bash "$infra/setup.sh"
exec bash "$infra/as-service-user.sh" node bench/main.ts "$@"
