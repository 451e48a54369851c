#!/usr/bin/env bash
# `npm run test:fuzz [-- SECONDS]`: fuzzes the native code that parses bytes of other processes, for 30 seconds by
# default. Starts from the corpus beside this file and from the inputs that earlier runs found on this machine.
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
# shellcheck source=../../infra/lib.sh
source "$here/../../infra/lib.sh"
bash "$CHECKOUT/infra/setup.sh"

# Only fuzzing needs clang, so it is not among the packages of the set-up.
if ! command -v clang >/dev/null || ! [[ -n "$(find "$(clang -print-resource-dir)" -name 'libclang_rt.fuzzer-*' -print -quit)" ]]; then
  [[ $EUID -eq 0 ]] || fail "clang or its fuzzer is not there" "libFuzzer comes with clang" \
    "have this run as root: apt-get install clang libclang-rt-dev (or libclang-rt-N-dev of its version N)"
  apt-get install -y --no-install-recommends clang >&2
  version="$(clang -dumpversion)"
  # Debian 12 and later package it separately; before, it came with clang's dependencies.
  apt-get install -y --no-install-recommends "libclang-rt-${version%%.*}-dev" >&2 || say "no package of clang's run-time library"
fi

found="$OFFSHOOT_STATE/fuzz"
bash "$CHECKOUT/infra/as-service-user.sh" make -s -C "$here" fuzz BUILD="$found"
bash "$CHECKOUT/infra/as-service-user.sh" mkdir -p "$found/corpus"
# An input that fails is written beside the corpus, and can be passed to the same program again.
exec bash "$CHECKOUT/infra/as-service-user.sh" "$found/fuzz" -max_total_time="${1:-30}" -max_len=4096 -print_final_stats=1 \
  -artifact_prefix="$found/" "$found/corpus" "$here/corpus"
