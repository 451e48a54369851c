#!/usr/bin/env bash
# Puts the S3 server of the tests into the cache, where test/support/servers/s3-server.ts looks for it. Nothing in
# production uses it. It is versitygw, which keeps objects as plain files, checks signatures as Amazon does, and comes
# as one program from the Go module proxy: some minutes the first time, nothing afterwards.
set -euo pipefail
# shellcheck source=../lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

VERSION=v1.8.0
home="$OFFSHOOT_CACHE/s3-server"
SETUP_LOG="$OFFSHOOT_CACHE/test-s3-server.log"

if [[ -x "$home/versitygw" && "$(cat "$home/version" 2>/dev/null)" == "$VERSION" ]]; then exit 0; fi
command -v go >/dev/null ||
  fail "go is not there" "the S3 server of these tests is built by Go" "install Go 1.25 or later, then: npm run test:s3"

# The service user runs the tests, and must be able to read it.
umask 022
mkdir -p "$home"
exec {turn}>>"$home/lock"
flock "$turn"
if [[ "$(cat "$home/version" 2>/dev/null)" == "$VERSION" ]]; then exit 0; fi
new="$(mktemp -d "$home/new.XXXXXX")"
trap 'rm -rf -- "$new"' EXIT
step "S3 server of the tests" env "GOBIN=$new" go install -trimpath -ldflags="-s -w" "github.com/versity/versitygw/cmd/versitygw@$VERSION"
mv -- "$new/versitygw" "$home/versitygw"
printf '%s\n' "$VERSION" >"$home/version"
