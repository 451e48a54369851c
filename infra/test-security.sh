#!/usr/bin/env bash
# `npm run test:security [FILTER...]`: sets up what is missing, then attacks real sandboxes, one line for each scenario.
# Ends with an exit code other than 0 if one of them did not hold.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")"
bash "$infra/setup.sh"
cd "$infra/.."
[[ -t 1 ]] || export NO_COLOR=1
# Some of the attacks are deployed beside these.
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts --project security --reporter ./test/support/scenario-reporter.ts "$@"
