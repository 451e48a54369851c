#!/usr/bin/env bash
# as-service-user.sh CMD... - becomes CMD, run by the service user in the checkout: with the pinned Node first on PATH,
# a clean environment and, on cgroup v2, inside the delegated cgroup. Signals and the exit code are CMD's.
# No root is left after this: it is the one place where the platform gives it up.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=host/cgroup.sh
source "$CHECKOUT/infra/host/cgroup.sh"

[[ $# -gt 0 ]] || fail "no command" "as-service-user.sh runs the command in its arguments" "as-service-user.sh node infra/platform/start.ts"
command=("$@")
if ! id -u "$SERVICE_USER" >/dev/null 2>&1; then
  fail "there is no user $SERVICE_USER" "the platform does not run as root, and the set-up has not run yet" "run: npm run setup"
fi

# Path of the checkout in a private copy of the mount table, where the service user may not reach the original.
SHOWN_CHECKOUT=/run/offshoot/checkout

# clean_environment HOME CHECKOUT - the only variables that pass, as NAME=VALUE lines for env -i.
# npm's own (npm_*), secrets of the caller's shell and the like stay behind.
clean_environment() {
  local name store=()
  environment=("HOME=$1" "USER=$SERVICE_USER" "LOGNAME=$SERVICE_USER"
    "PATH=$2/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
  # A key of Amazon's in the caller's shell is passed on only when the artifact store is there.
  [[ "${OFFSHOOT_ARTIFACTS:-}" != s3://* ]] || store=(AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL AWS_REGION AWS_DEFAULT_REGION
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN)
  for name in "${store[@]}" ${!OFFSHOOT_@} ${!OTEL_@} ${!LC_@} LANG TZ TERM COLORTERM NO_COLOR FORCE_COLOR CI REDIS_URL NODE_ENV \
    NODE_EXTRA_CA_CERTS XDG_RUNTIME_DIR NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID; do
    [[ -z "${!name+set}" ]] || environment+=("$name=${!name}")
  done
}

# join_cgroup - cgroup v2 lets an unprivileged process move children only within the subtree that the process itself is
# in. So the process that will make sandboxes must enter the delegated cgroup first. (v1 asks only for the right to
# write.)
join_cgroup() {
  local mount manager own
  [[ "$(cgroup_version)" == 2 ]] || return 0
  mount="$(cgroup_v2_mount)"
  own="$(sed -n 's/^0:://p' /proc/self/cgroup)"
  if [[ "$own" == */platform && -w "$mount${own%/platform}/cgroup.procs" ]]; then
    # Started from within, for example a test that starts a platform.
    export OFFSHOOT_CGROUP="${own#/}"
    OFFSHOOT_CGROUP="${OFFSHOOT_CGROUP%/platform}"
  elif is_alone_in "$mount$own"; then
    # In a scope or service that systemd made with Delegate=yes: processes in a leaf, controllers for its siblings.
    mkdir -p "$mount$own/platform"
    echo $$ >"$mount$own/platform/cgroup.procs"
    echo '+cpu +memory +pids' >"$mount$own/cgroup.subtree_control"
    export OFFSHOOT_CGROUP="${own#/}"
  elif [[ $EUID -eq 0 ]]; then
    if [[ -d "$mount/$OFFSHOOT_CGROUP/platform" ]]; then
      echo $$ >"$mount/$OFFSHOOT_CGROUP/platform/cgroup.procs"
    else
      say "the cgroup $OFFSHOOT_CGROUP is not there, so no sandbox can be made; run: npm run setup"
    fi
  elif manager="$(user_manager_cgroup "$EUID")" && delegates_all "$manager"; then
    export XDG_RUNTIME_DIR="/run/user/$EUID"
    # Ends in exec: this same process comes back above, alone in a cgroup of its own.
    exec systemd-run --user --scope --quiet -p Delegate=yes -- bash "$CHECKOUT/infra/as-service-user.sh" "${command[@]}"
  else
    say "sudo: moving this process into the delegated cgroup $OFFSHOOT_CGROUP"
    # The command line is expanded by root's shell, not by ours.
    # shellcheck disable=SC2016
    sudo -- bash -c 'echo "$1" >"$2"' join "$$" "$mount/$OFFSHOOT_CGROUP/platform/cgroup.procs" ||
      fail "this process could not enter the cgroup $OFFSHOOT_CGROUP" "only root may move it there" \
        "log in through systemd (loginctl enable-linger $SERVICE_USER), or run this as root"
  fi
}

# is_alone_in CGROUP - succeeds when the cgroup is this user's and has no other process. Under a user's systemd every
# cgroup is the user's, also that of the terminal; only one without other processes may be rearranged.
is_alone_in() {
  local processes
  [[ $EUID -ne 0 && -w "$1/cgroup.subtree_control" && -w "$1/cgroup.procs" ]] || return 1
  mapfile -t processes <"$1/cgroup.procs"
  [[ "${processes[*]}" == $$ ]]
}

# drop_to_service_user CHECKOUT
drop_to_service_user() {
  local home
  home="$(getent passwd "$SERVICE_USER" | cut -d: -f6)"
  clean_environment "$home" "$1"
  cd "$1"
  # The bounding set and no_new_privs stay unchanged: newuidmap is a set-uid program and needs both.
  exec setpriv --reuid "$SERVICE_USER" --regid "$(id -g "$SERVICE_USER")" --init-groups --inh-caps=-all \
    env -i "${environment[@]}" "${command[@]}"
}

# can_read FILE - succeeds when the service user can read it.
can_read() {
  setpriv --reuid "$SERVICE_USER" --regid "$(id -g "$SERVICE_USER")" --init-groups test -r "$1"
}

# show_checkout - a checkout below root's private home is shown elsewhere, read-only, to this process and its children.
show_checkout() {
  mkdir -p "$SHOWN_CHECKOUT"
  chmod 755 /run/offshoot "$SHOWN_CHECKOUT"
  export OFFSHOOT_SHOWN=1
  exec unshare --mount --propagation private -- bash -euc '
    checkout="$1"
    mount --bind "$1" "$2"
    mount -o remount,bind,ro,nodev "$2"
    shift 2
    exec bash "$checkout/infra/as-service-user.sh" "$@"' show "$CHECKOUT" "$SHOWN_CHECKOUT" "${command[@]}"
}

umask 022
# SCHED_BATCH for all that follows, sched(7): a process that is woken does not interrupt the one that runs. A call wakes six
# processes in turn; without this, each interrupts the one before it after a single message, instead of finding several.
command=(chrt --batch 0 "${command[@]}")
# A worker holds a few descriptors for each sandbox; only root may raise the hard limit. Node raises its own soft one.
[[ $EUID -ne 0 ]] || ulimit -n 524288 2>/dev/null || true
# Pending signals of any sandbox count for the service user, and kill(2) sends them even over the limit. Without a limit
# of the user, one tenant's signals cannot take timers from another; each sandbox has a limit of its own.
[[ $EUID -ne 0 ]] || ulimit -i unlimited 2>/dev/null || true
join_cgroup
if [[ $EUID -ne 0 ]]; then
  clean_environment "$HOME" "$CHECKOUT"
  cd "$CHECKOUT"
  exec env -i "${environment[@]}" "${command[@]}"
elif can_read "$CHECKOUT/package.json"; then
  drop_to_service_user "$CHECKOUT"
elif [[ -z "${OFFSHOOT_SHOWN:-}" ]]; then
  show_checkout
elif can_read "$SHOWN_CHECKOUT/package.json"; then
  unset OFFSHOOT_SHOWN
  drop_to_service_user "$SHOWN_CHECKOUT"
else
  fail "the service user $SERVICE_USER cannot read this checkout" "its files are closed to other users" \
    "chmod -R go+rX $CHECKOUT"
fi
