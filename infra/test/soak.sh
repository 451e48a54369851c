#!/usr/bin/env bash
# `npm run soak -- [--minutes N] [--seed S]`: sets up what is missing, then works and hurts a platform of its own at random, and
# ends with an exit code other than 0 if it has lost something that it had acknowledged.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")/.."
bash "$infra/setup.sh"
cd "$infra/.."
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
exec bash infra/as-service-user.sh node test/faults/soak/main.ts "$@"
