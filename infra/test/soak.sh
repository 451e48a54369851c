#!/usr/bin/env bash
# `npm run soak -- [--minutes N] [--seed S]`: sets up what is missing, then runs a platform of its own under load, with
# faults at random. Exits with a code other than 0 if the platform has lost something that it had acknowledged.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")/.."
bash "$infra/setup.sh"
cd "$infra/.."
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
exec bash infra/as-service-user.sh node test/faults/soak/main.ts "$@"
