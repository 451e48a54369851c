#!/usr/bin/env bash
# `npm run test:s3`: sets up what is missing and an S3 server, which is built by Go, then tests the artifact store in a bucket.
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")"
bash "$infra/setup.sh"
bash "$infra/test-s3-server.sh"
cd "$infra/.."
[[ -t 1 ]] || export NO_COLOR=1
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts --project s3 "$@"
