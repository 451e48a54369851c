#!/usr/bin/env bash
# Debian packages that only tests need: Prometheus, which scrapes a running platform, and its promtool. The package is
# unpacked beside the downloads. An installation would leave a service running for ever on a machine that only ran
# tests.
set -euo pipefail
# shellcheck source=../lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

place="$OFFSHOOT_CACHE/prometheus"
if [[ -x "$place/usr/bin/promtool" ]] || { command -v promtool && command -v prometheus; } >/dev/null; then exit 0; fi
say "prometheus: unpacking Debian's package for the tests into $place"
umask 022
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
fetch() { apt-get download -q prometheus >"$work/log" 2>&1; }
# A machine with old package lists may know versions that the mirror no longer has.
as_root=()
[[ $EUID -eq 0 ]] || as_root=(sudo -n)
fetch || { "${as_root[@]}" apt-get update -q >>"$work/log" 2>&1 && fetch; } || {
  cat "$work/log" >&2
  fail "Debian's package prometheus could not be fetched" "the metrics are tested with it" "run apt-get update, then this again"
}
dpkg-deb -x prometheus_*.deb unpacked
mkdir -p "$OFFSHOOT_CACHE"
rm -rf "$place"
mv unpacked "$place"
