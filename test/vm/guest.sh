#!/usr/bin/env bash
# Runs in the guest, as root, after its start: the set-up's own steps for an ordinary user on cgroup v2, then the tests
# as that user, in each way to get a cgroup: a scope of the user's own systemd, a service, a directory. Output goes to
# the console; the host reads the second serial line, with a line for each test (test/vm/reporter.ts).
set -euo pipefail
cd /payload/checkout
results=/dev/ttyS1
# No translation of line ends, no echo.
stty -F $results raw -echo
exec 3>$results

ended() {
  printf 'end %d\n' "$1" >&3
  # The last line may still be in the serial port's buffer.
  sleep 1
  systemctl poweroff --force --force
}
trap 'printf "error: %s failed in line %d\n" "$BASH_COMMAND" "$LINENO" >&3; ended 1' ERR

# The images belong to the user who will run the zygotes, as on the host. With another number of the user or of its
# group, their files would have no owner in the zygote's user namespace. An overlay could then not change them.
uid="$(stat -c %u /payload/state/images)"
groupadd --system --gid "$(stat -c %g /payload/state/images)" offshoot
useradd --system --uid "$uid" --gid offshoot --home-dir /payload/state --no-create-home --shell /bin/bash offshoot
export OFFSHOOT_STATE=/payload/state OFFSHOOT_CACHE=/var/cache/offshoot NO_COLOR=1
for step in subids delegate tun; do bash infra/host/privileged.sh "$step" offshoot; done
loginctl enable-linger offshoot
until [[ -S "/run/user/$uid/systemd/private" ]]; do sleep 0.2; done
printf 'started in %.0f s: Linux %s, systemd %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$(uname -r)" \
  "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" >&3

status=0
# run HOW CMD... - runs the tests as the user, started by CMD. Through `cat`, because a program that finds a terminal
# adds movements of the cursor.
run() {
  printf '%s:\n' "$1" >&3
  "${@:2}" | cat >&3 || status=1
}
vitest=(node node_modules/vitest/vitest.mjs run --configLoader native --config test/vm/vitest.config.ts)
# Enough to see that limits hold and that the delegated files suffice.
shorter=(test/vm/limits.test.ts -t 'this is|buffers|D11|cgroup.kill')
mapfile -d '' -t filter </payload/filter

# as_user CMD... - runs CMD like the shell of a logged-in user, with nothing of root's.
as_user() {
  setpriv --reuid offshoot --regid "$(id -g offshoot)" --init-groups --inh-caps=-all \
    env -i HOME=/payload/state USER=offshoot PATH="$PATH" NO_COLOR=1 XDG_RUNTIME_DIR="/run/user/$uid" \
    OFFSHOOT_STATE=/payload/state "$@"
}
run "an ordinary user's systemd delegates a scope" as_user bash infra/as-service-user.sh \
  "${vitest[@]}" "${filter[@]}"
# A filter of tests asks for these tests only.
if [[ ${#filter[@]} -gt 0 ]]; then ended $status; fi

# The settings of infra/systemd/offshoot.service.
run 'a service with Delegate=' systemd-run --quiet --wait --pipe --uid=offshoot -p 'Delegate=cpu memory pids' \
  -p WorkingDirectory=/payload/checkout -E OFFSHOOT_STATE=/payload/state -E NO_COLOR=1 \
  bash infra/as-service-user.sh "${vitest[@]}" "${shorter[@]}"

bash infra/host/privileged.sh cgroups offshoot
run 'root hands over a cgroup' env OFFSHOOT_CGROUP=offshoot bash infra/as-service-user.sh "${vitest[@]}" "${shorter[@]}"
trap - ERR
ended $status
