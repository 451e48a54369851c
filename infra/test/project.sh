#!/usr/bin/env bash
# `npm run test:PROJECT [FILTER...]` is project.sh PROJECT [FILTER...]: sets up what is missing, then runs one project of
# test/vitest.config.ts. Exits with a code other than 0 if a test failed.
#
#   security  attacks real sandboxes, one line for each scenario
#   faults    ends, stops and cuts off parts of a running platform, one line for each scenario
#   slow      tests that wait for limits, schedules and windows of time
#   real      code and packages as users bring them, from source by plain Node and from the archive in a sandbox. npm installs
#             packages once into the state directory, below real/
#   s3        the artifact store in a bucket, on an S3 server that Go builds
#   seccomp   removes each entry of the system call filter in turn, to see which step needs it. Takes many minutes. Leaves the
#             table of its findings in the state directory, seccomp/needed.tsv
set -euo pipefail
infra="$(dirname -- "${BASH_SOURCE[0]}")/.."
project="$1"
shift
bash "$infra/setup.sh"
options=(--project "$project")
case "$project" in
  security | faults) options+=(--reporter ./test/security/scenarios/scenario-reporter.ts) ;;
  slow) bash "$infra/test/tools.sh" ;;
  s3) bash "$infra/test/s3-server.sh" ;;
  seccomp) export OFFSHOOT_TEST_SECCOMP=yes ;;
esac
cd "$infra/.."
[[ -t 1 ]] || export NO_COLOR=1
# The tests deploy these; the service user may not write here.
PATH="$PWD/node_modules/.bin:$PATH" sh functions/install.sh
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts "${options[@]}" "$@"
