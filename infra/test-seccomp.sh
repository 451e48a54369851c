#!/usr/bin/env bash
# `npm run test:seccomp`: sets up what is missing, then takes each entry of the system call filter away in turn, to see who
# needs it. Takes many minutes. The table of what was found is left in the state directory, seccomp/needed.tsv.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")"
bash "$infra/setup.sh"
cd "$infra/.."
[[ -t 1 ]] || export NO_COLOR=1
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
export OFFSHOOT_TEST_SECCOMP=yes
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts --project seccomp "$@"
