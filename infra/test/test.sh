#!/usr/bin/env bash
# `npm test [FILTER...]`: sets up what is missing, checks types, style and format, then runs the tests (the attack
# suite is `npm run test:security`).
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")/.."
bash "$infra/setup.sh"
cd "$infra/.."
# Colour is for people at a terminal; not every tool below checks for one.
[[ -t 1 ]] || export NO_COLOR=1
# The tests deploy these; the service user may not write here.
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
# Run as the caller, who may have files of their own in the checkout; with the pinned Node, as below for the service
# user.
PATH="$PWD/node_modules/.bin:$PATH" npm run -s check
# The native loader, since the default one writes a bundle of the configuration into the checkout, which the service
# user may not.
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts --project unit --project integration "$@"
