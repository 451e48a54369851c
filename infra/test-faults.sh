#!/usr/bin/env bash
# `npm run test:faults [FILTER...]`: sets up what is missing, then ends, stops and cuts off parts of a running platform, one
# line for each scenario. Ends with an exit code other than 0 if one of them did not hold.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")"
bash "$infra/setup.sh"
cd "$infra/.."
[[ -t 1 ]] || export NO_COLOR=1
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts --project faults --reporter ./test/support/scenario-reporter.ts "$@"
