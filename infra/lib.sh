# Shared by the infra scripts: paths, the user who runs the platform, and lines of progress. Sourced by bash, never run.
# The sourcing script has already set `set -euo pipefail`.

# The checkout, without `cd` so that the caller's directory stays as it was.
CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"

# Started as root, the platform runs as a user of its own. Started by anyone else, it runs as that user.
if [[ $EUID -eq 0 ]]; then
  SERVICE_USER=offshoot
  OFFSHOOT_STATE="${OFFSHOOT_STATE:-/var/lib/offshoot}"
  # Downloads are kept apart from the state: root writes them, and root must not write in a directory that the service
  # user owns (a planted symbolic link could redirect the write).
  OFFSHOOT_CACHE="${OFFSHOOT_CACHE:-/var/cache/offshoot}"
  OFFSHOOT_CGROUP="${OFFSHOOT_CGROUP:-offshoot}"
else
  SERVICE_USER="$(id -un)"
  OFFSHOOT_STATE="${OFFSHOOT_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/offshoot}"
  OFFSHOOT_CACHE="${OFFSHOOT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/offshoot}"
  # Not plain `offshoot`: that one belongs to a platform which root started on the same machine.
  OFFSHOOT_CGROUP="${OFFSHOOT_CGROUP:-offshoot-$SERVICE_USER}"
fi
export OFFSHOOT_STATE OFFSHOOT_CACHE OFFSHOOT_CGROUP

# The pinned Node comes first, whatever Node the machine has.
NODE_BIN="$CHECKOUT/node_modules/.bin"

# Debian packages that the platform, its native build and its tests need.
DEBIAN_PACKAGES=(
  build-essential pkg-config libseccomp-dev clang-format # the native parts and their format check
  redis-server                                           # the embedded Redis
  uidmap                                                 # newuidmap, newgidmap
  bubblewrap                                             # a peer in the benchmark
  nftables slirp4netns                                   # the network egress of functions
  procps iproute2 util-linux ca-certificates             # ps, ip, setpriv and unshare, TLS
  openssl                                                # certificates for the tests of TLS
)

# Colour only for people: on a terminal, and not against their wish (no-color.org).
if [[ -t 2 && -z "${NO_COLOR:-}" ]]; then
  RED=$'\e[31m' GREEN=$'\e[32m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
  RED='' GREEN='' DIM='' PLAIN=''
fi

# say TEXT - a line of progress, on stderr so that the output of `npm start` and `npm test` stays clean.
say() { printf '%s\n' "$*" >&2; }

# fail WHAT WHY NEXT - the three parts that every error must have.
fail() {
  say "${RED}set-up failed:${PLAIN} $1"
  say "  why:  $2"
  say "  next: $3"
  exit 1
}

# now_ms - milliseconds, without starting a process.
now_ms() {
  local time="${EPOCHREALTIME//[^0-9]/}"
  printf '%s' "$((time / 1000))"
}

# seconds_since START_MS
seconds_since() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# step NAME CMD... - runs one step with its output in the log; prints its name and time, and its lines that begin with
# `note:`. Prints the log's end if the step fails.
step() {
  local name="$1" start log_size
  shift
  start="$(now_ms)"
  # A run without a step keeps the log of the last run that had one.
  [[ -n "${LOG_BEGUN:-}" ]] || : >"$SETUP_LOG"
  LOG_BEGUN=1
  printf '%s\n' "--- $name: $*" >>"$SETUP_LOG"
  log_size="$(stat -c %s "$SETUP_LOG")"
  # Some steps take a minute: a terminal shows the current one, until its line is overwritten.
  [[ ! -t 2 ]] || printf '...   %s\r' "$name" >&2
  if ! "$@" >>"$SETUP_LOG" 2>&1 </dev/null; then
    say "${RED}failed${PLAIN} $name. The end of $SETUP_LOG:"
    tail -n 25 "$SETUP_LOG" | sed 's/^/  | /' >&2
    fail "$name" "this command failed: $*" "mend it, then run the same command again: finished steps are not repeated"
  fi
  say "${GREEN}done${PLAIN}  $name ${DIM}($(seconds_since "$start"))${PLAIN}"
  tail -c "+$((log_size + 1))" "$SETUP_LOG" | sed -n 's/^note: /      /p' >&2
}
