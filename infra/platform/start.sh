#!/usr/bin/env bash
# `npm start`: sets up what is missing, then runs Redis, a worker and a gateway until it gets a signal to stop.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")/.."
bash "$infra/setup.sh"
exec bash "$infra/as-service-user.sh" node infra/platform/start.ts "$@"
