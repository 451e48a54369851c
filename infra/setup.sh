#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine ready for Offshoot, and the checkout ready to run. Each step is checked first and
# done only when it is missing. So this may be run at any time, and runs before every start and test.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=host/cgroup.sh
source "$CHECKOUT/infra/host/cgroup.sh"
# shellcheck source=host/checks.sh
source "$CHECKOUT/infra/host/checks.sh"
cd "$CHECKOUT"

# All files must be readable by the service user, whatever the umask of the caller.
umask 022
started="$(now_ms)"
mkdir -p "$OFFSHOOT_CACHE"
SETUP_LOG="$OFFSHOOT_CACHE/setup.log"

require_machine() {
  if [[ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]]; then
    fail "this machine is $(uname -s) on $(uname -m)" "the runtime images and system-call filter are made for Linux on x86-64" \
      "use such a machine"
  fi
  if ! command -v apt-get >/dev/null; then
    fail "apt-get is not there" "the set-up knows Debian 12 and 13, Ubuntu 22.04 and 24.04" "use one of them"
  fi
  if ! command -v npm >/dev/null; then
    fail "npm is not there" "the dependencies, and the Node that the platform runs on, come through it" \
      "install Node with npm (any version from 18), then run the same command again"
  fi
}

# Two set-ups at once would build into each other: the second waits for the first and then finds everything done.
take_turn() {
  exec {turn}>>"$OFFSHOOT_CACHE/setup.lock"
  if ! flock -n "$turn"; then
    say "another set-up is running: waiting for it"
    flock "$turn"
  fi
}

# run_privileged STEP - with sudo where we are not root.
run_privileged() {
  local -A means=(
    [packages]="installing Debian packages: $(missing_packages | tr '\n' ' ')"
    [account]="making the service user $SERVICE_USER and its directory $OFFSHOOT_STATE"
    [subids]="giving $SERVICE_USER a range of subordinate ids in /etc/subuid and /etc/subgid"
    [cgroups]="handing the cgroup $OFFSHOOT_CGROUP over to $SERVICE_USER"
    [delegate]="letting users' own systemd limit processor time (a drop-in for user@.service)"
    [userns]="allowing user namespaces ($(userns_means))"
    [tun]="opening /dev/net/tun to all users, as udev does where it runs"
    [devices]="making sets of device files in $DEVICE_SETS, so that no two tenants share one"
    [link]="linking /usr/local/bin/offshoot to this checkout"
  )
  local command=(env "OFFSHOOT_STATE=$OFFSHOOT_STATE" "OFFSHOOT_CGROUP=$OFFSHOOT_CGROUP"
    bash "$CHECKOUT/infra/host/privileged.sh" "$1" "$SERVICE_USER")
  if [[ $EUID -eq 0 ]]; then
    step "${means[$1]}" "${command[@]}"
  else
    say "sudo: ${means[$1]}"
    # The password is asked for here, so that the time of the step is its own.
    sudo -n true 2>/dev/null || sudo -v || without_root
    step "${means[$1]}" sudo -- "${command[@]}"
  fi
}

userns_means() {
  if apparmor_profile_needed; then
    printf 'an AppArmor profile for the launcher, %s' "$APPARMOR_PROFILE"
  else
    printf 'kernel.unprivileged_userns_clone in /etc/sysctl.d/60-offshoot.conf'
  fi
}

# Prints the exact commands that an administrator has to run. The reader need not be one.
without_root() {
  local name
  say "${RED}set-up needs an administrator${PLAIN} for ${#steps[@]} step(s), and sudo is not there or not allowed to $SERVICE_USER."
  say "Ask for these commands to be run as root, then run the same command again:"
  for name in "${steps[@]}"; do
    say "  OFFSHOOT_STATE=$OFFSHOOT_STATE OFFSHOOT_CGROUP=$OFFSHOOT_CGROUP bash $CHECKOUT/infra/host/privileged.sh $name $SERVICE_USER"
  done
  exit 1
}

prepare_host() {
  local name
  mapfile -t steps < <(privileged_steps)
  # Only conveniences (without tun, functions have no egress; without devices, tenants share those of the host), not
  # worth a password prompt on their own.
  if [[ $EUID -ne 0 && "${steps[*]}" =~ ^(tun ?)?(devices ?)?(link)?$ ]]; then steps=(); fi
  [[ ${#steps[@]} -gt 0 ]] || return 0
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then without_root; fi
  for name in "${steps[@]}"; do run_privileged "$name"; done
}

# as_owner CMD... - runs CMD as the owner of the checkout, so that files in it belong to that user, also when root
# started us.
as_owner() {
  local owner
  owner="$(stat -c %U "$CHECKOUT")"
  if [[ $EUID -eq 0 && "$owner" != root ]]; then
    setpriv --reuid "$owner" --regid "$(id -g "$owner")" --init-groups \
      env "HOME=$(getent passwd "$owner" | cut -d: -f6)" "USER=$owner" "$@"
  else
    "$@"
  fi
}

# `npm ci` would be the right command, but it refuses a lock without the optional packages of other systems, which not
# every mirror carries. `npm install --no-save` takes versions and hashes from the lock as well, and is checked against
# it afterwards.
install_dependencies() {
  local stamp=node_modules/.offshoot-lock wanted
  wanted="$(sha256sum package-lock.json)"
  [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]] || return 0
  # After the user's own `npm install`, the packages of the lock are already there.
  if ! node infra/host/is-installed.mjs; then
    step "npm dependencies" as_owner npm install --no-save --no-audit --no-fund
    node infra/host/is-installed.mjs || fail "node_modules is not what package-lock.json asks for" \
      "package.json and package-lock.json do not agree" "run: npm install"
  fi
  as_owner tee "$stamp" <<<"$wanted" >/dev/null
}

# make compares the times of a few files, which takes no time.
build_native() {
  as_owner make -q -C worker/native >/dev/null 2>&1 || step "native parts" as_owner make -j2 -C worker/native
}

# Everything that a runtime image is made from, without starting Node.
image_inputs() {
  find runtime-images contract worker/native/build/runtimes package-lock.json /etc/os-release -follow -type f \
    ! -name '*.test.ts' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64
}

build_images() {
  local wanted
  wanted="$(image_inputs)"
  if [[ "$(cat "$OFFSHOOT_STATE/images/.inputs" 2>/dev/null)" == "$wanted" ]]; then return 0; fi
  # The caller downloads them, whose npm configuration knows the way to the registry. The service user builds the image
  # and owns it, because it is the root of the sandboxes' outer user namespace.
  step "downloads for the runtime images" "$NODE_BIN/node" runtime-images/build.ts fetch
  step "runtime images" bash infra/as-service-user.sh node runtime-images/build.ts build --inputs "$wanted"
}

# Without sudo, for a user who has a place for commands of their own.
link_own_command() {
  local link="$HOME/.local/bin/offshoot"
  if [[ $EUID -ne 0 && ! -e "$link" && ! -e /usr/local/bin/offshoot && ":$PATH:" == *":$HOME/.local/bin:"* ]]; then
    mkdir -p "$HOME/.local/bin"
    ln -sfn "$CHECKOUT/cli/offshoot" "$link"
  fi
}

require_machine
take_turn
prepare_host
[[ $EUID -eq 0 ]] || (umask 077 && mkdir -p "$OFFSHOOT_STATE")
install_dependencies
build_native
build_images
link_own_command
say "set-up: ready ($(seconds_since "$started"))"
