#!/usr/bin/env bash
# `npm run test:browser [FILTER...]`: sets up what is missing, Debian's Chromium included, then uses the dashboard of a
# running platform in it. Prints the directory in which it leaves a screenshot of each page.
set -euo pipefail
# shellcheck source=../lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=../host/cgroup.sh
source "$CHECKOUT/infra/host/cgroup.sh"
# shellcheck source=../host/checks.sh
source "$CHECKOUT/infra/host/checks.sh"
# Only these tests need it, and it is large.
BROWSER_PACKAGES=(chromium)

install_browser() {
  # Fresh machines have no package lists, and old lists name versions that the mirror no longer has.
  "${as_root[@]}" apt-get install -qy --no-install-recommends "$@" || {
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -qy --no-install-recommends "$@"
  }
}

cd "$CHECKOUT"
bash infra/setup.sh
SETUP_LOG="$OFFSHOOT_CACHE/setup.log"
mapfile -t missing < <(DEBIAN_PACKAGES=("${BROWSER_PACKAGES[@]}") && missing_packages)
if [[ ${#missing[@]} -gt 0 ]]; then
  as_root=(env DEBIAN_FRONTEND=noninteractive)
  if [[ $EUID -ne 0 ]]; then
    say "sudo: installing Debian packages: ${missing[*]}"
    # The password is asked for here, where the terminal is.
    sudo -v
    as_root=(sudo -- env DEBIAN_FRONTEND=noninteractive)
  fi
  step "a browser for the tests: ${missing[*]}" install_browser "${missing[@]}"
fi
[[ -t 1 ]] || export NO_COLOR=1
PATH="$NODE_BIN:$PATH" sh functions/install.sh
say "screenshots: $OFFSHOOT_STATE/screenshots"
exec bash infra/as-service-user.sh node node_modules/vitest/vitest.mjs run --configLoader native \
  --config test/vitest.config.ts --project browser "$@"
