# Finds the steps that need root and are still to be done. Sourced by bash, after lib.sh and cgroup.sh. All of this runs
# on every start, so it reads files and starts few processes.

APPARMOR_PROFILE=/etc/apparmor.d/offshoot

# proc_value NAME - a sysctl, or nothing where the kernel does not have it.
proc_value() {
  local value=''
  [[ ! -r "/proc/sys/$1" ]] || read -r value <"/proc/sys/$1"
  printf '%s' "$value"
}

# missing_packages - one a line.
missing_packages() {
  local installed
  # dpkg-query fails when it does not know one of the names, and still prints the others.
  installed=" $(dpkg-query -W -f '${binary:Package}=${db:Status-Status} ' "${DEBIAN_PACKAGES[@]}" 2>/dev/null || true)"
  local package
  for package in "${DEBIAN_PACKAGES[@]}"; do
    # A package for one architecture among several is listed as name:arch.
    [[ "$installed" == *" $package=installed "* || "$installed" == *" $package:"*"=installed "* ]] || printf '%s\n' "$package"
  done
}

# Subordinate ids that a worker maps: 1,000 that sandboxes do not use, one for each of 60,000 sandboxes, and one above
# (SUBIDS_USED in worker/sandbox/zygote/subids.ts, which a unit test compares).
SUBIDS_USED=61001

# has_subids FILE USER - succeeds when USER has a range of SUBIDS_USED ids (entries name the user or its number).
has_subids() {
  local uid
  uid="$(id -u "$2")"
  [[ -r "$1" ]] && awk -F: -v user="$2" -v uid="$uid" -v used="$SUBIDS_USED" \
    '($1 == user || $1 == uid) && $3 >= used { found = 1 } END { exit !found }' "$1"
}

# owned_by USER FILE... - succeeds when all of them exist and are USER's.
owned_by() {
  local user="$1" owners
  shift
  owners="$(stat -c %U -- "$@" 2>/dev/null)" || return 1
  [[ "$(sort -u <<<"$owners")" == "$user" ]]
}

# cgroups_step USER - prints the step that is needed for cgroups (cgroups or delegate), or nothing.
cgroups_step() {
  local version directory manager files=()
  version="$(cgroup_version)"
  if [[ "$version" == 1 ]]; then
    while read -r directory; do
      files+=("$directory" "$directory/cgroup.procs" "$directory/tasks")
    done < <(cgroup_v1_directories "$OFFSHOOT_CGROUP")
    owned_by "$1" "${files[@]}" || printf cgroups
    return
  fi
  # An ordinary user with a systemd of its own gets a delegated scope from it at each start, with no help from root.
  if [[ "$version" == 2 && $EUID -ne 0 ]] && manager="$(user_manager_cgroup "$EUID")"; then
    delegates_all "$manager" || printf delegate
    return
  fi
  directory="$(cgroup_v2_mount)/$OFFSHOOT_CGROUP"
  if [[ "$version" == 0 ]] || ! delegates_all "$directory/platform" ||
    ! owned_by "$1" "$directory/cgroup.procs" "$directory/cgroup.subtree_control" "$directory/platform/cgroup.procs"; then
    printf cgroups
  fi
}

# apparmor_profile_needed - Ubuntu 24.04 and later: AppArmor takes all capabilities from user namespaces of unprivileged
# programs.
apparmor_profile_needed() {
  [[ "$(proc_value kernel/apparmor_restrict_unprivileged_userns)" == 1 ]] || return 1
  ! grep -qsF "\"$CHECKOUT/worker/native/build/launcher\"" "$APPARMOR_PROFILE"
}

# userns_step - prints `userns` when a setting that we can change keeps users from making user namespaces.
userns_step() {
  if [[ "$(proc_value kernel/unprivileged_userns_clone)" == 0 ]] || apparmor_profile_needed; then printf userns; fi
}

# tun_step - prints `tun` when the service user may not open /dev/net/tun, through which functions' egress leaves.
tun_step() {
  # 6 for others: read and write.
  [[ "$(stat -L -c %a /dev/net/tun 2>/dev/null)" == *6 ]] || printf tun
}

# Groups of 16 sets. A launcher takes one group, and each namespace and runtime in use has a launcher.
LAST_DEVICE_GROUP=15
# Where worker/sandbox/zygote/zygote.ts looks.
DEVICE_SETS=/dev/offshoot

# devices_step - prints `devices` when the sets of device files for launchers are missing.
devices_step() {
  [[ -e "$DEVICE_SETS/$LAST_DEVICE_GROUP/0/null" || -e "$DEVICE_SETS/refused" ]] || printf devices
}

# link_step - prints `link` when the command is missing, or (as root) leads to another checkout.
link_step() {
  local link=/usr/local/bin/offshoot
  if [[ $EUID -eq 0 ]]; then
    # The link is a real file, so another program put it there: leave it.
    [[ -e "$link" && ! -L "$link" ]] || [[ "$(readlink -- "$link")" == "$CHECKOUT/cli/offshoot" ]] || printf link
  elif [[ ! -e "$link" && ! -e "$HOME/.local/bin/offshoot" && ":$PATH:" != *":$HOME/.local/bin:"* ]]; then
    printf link
  fi
}

# privileged_steps - the steps of privileged.sh that are still to be done, one a line, in order.
privileged_steps() {
  local missing
  missing="$(missing_packages)"
  [[ -z "$missing" ]] || echo packages
  if [[ $EUID -eq 0 ]]; then
    # A missing user has neither ids nor a state directory.
    if ! owned_by "$SERVICE_USER" "$OFFSHOOT_STATE"; then echo account; fi
    if ! id -u "$SERVICE_USER" >/dev/null 2>&1; then
      printf 'subids\ncgroups\n'
    else
      user_steps
    fi
  else
    user_steps
  fi
  local name
  for name in "$(userns_step)" "$(tun_step)" "$(devices_step)" "$(link_step)"; do [[ -z "$name" ]] || echo "$name"; done
}

# user_steps - the steps for a service user that exists.
user_steps() {
  local step
  { has_subids /etc/subuid "$SERVICE_USER" && has_subids /etc/subgid "$SERVICE_USER"; } || echo subids
  step="$(cgroups_step "$SERVICE_USER")"
  [[ -z "$step" ]] || echo "$step"
}
