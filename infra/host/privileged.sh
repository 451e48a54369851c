#!/usr/bin/env bash
# The set-up steps that need root, each on its own: `privileged.sh STEP USER`. USER is the one that runs the platform.
#   packages  install the Debian packages
#   account   make the service user and its state directory
#   subids    give USER the subordinate user and group ids that a worker maps (SUBIDS_USED)
#   cgroups   hand a cgroup directory over to USER
#   delegate  let each user's own systemd delegate the cpu controller (cgroup v2, platform run by an ordinary user)
#   userns    lift the restriction that keeps USER from making user namespaces
#   tun       open /dev/net/tun to all users, as udev does by itself where it runs
#   devices   make sets of device files, so that no two tenants share one
#   link      put the `offshoot` command on everyone's PATH
# setup.sh finds the ones that are needed. Each may be run again at any time.
set -euo pipefail
# shellcheck source=../lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=cgroup.sh
source "$CHECKOUT/infra/host/cgroup.sh"
# shellcheck source=checks.sh
source "$CHECKOUT/infra/host/checks.sh"

install_packages() {
  local missing policy=/usr/sbin/policy-rc.d had_redis=1
  mapfile -t missing < <(missing_packages)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  dpkg-query -W -f '${db:Status-Status}' redis-server 2>/dev/null | grep -qx installed || had_redis=0
  # Debian starts a service as soon as its package is installed. The platform runs a private Redis and needs no
  # system-wide one, so a policy forbids the start while we install, unless a policy exists already.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  # Fresh machines have no package lists, and old lists name versions that the mirror no longer has.
  if ! apt_install "${missing[@]}"; then
    apt-get update -q
    apt_install "${missing[@]}"
  fi
  # Otherwise it would start at the next boot.
  if [[ $had_redis -eq 0 && -d /run/systemd/system ]]; then
    systemctl disable -q redis-server.service || true
  fi
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

make_account() {
  if ! id -u "$user" >/dev/null 2>&1; then
    useradd --system --user-group --home-dir "$OFFSHOOT_STATE" --no-create-home --shell /usr/sbin/nologin "$user"
  fi
  # Its parents must exist, but stay root's: only the last directory changes hands.
  mkdir -p "$(dirname -- "$OFFSHOOT_STATE")"
  install -d -m 0700 -o "$user" -g "$user" "$OFFSHOOT_STATE"
}

grant_subids() {
  local first last
  # Begins above all ranges that other users have: overlapping ranges would let one user act as another in their
  # sandboxes.
  touch /etc/subuid /etc/subgid
  first="$(awk -F: 'BEGIN { m = 100000 } { e = $2 + $3; if (e > m) m = e } END { print m }' /etc/subuid /etc/subgid)"
  last=$((first + SUBIDS_USED - 1))
  has_subids /etc/subuid "$user" || usermod --add-subuids "$first-$last" "$user"
  has_subids /etc/subgid "$user" || usermod --add-subgids "$first-$last" "$user"
}

delegate_cgroups() {
  local directory mount file
  case "$(cgroup_version)" in
    1)
      while read -r directory; do
        mkdir -p "$directory"
        # The directory (to make children) and the two files through which processes enter. The limit files stay
        # root's, so that an administrator may cap the whole platform here.
        chown "$user:" "$directory" "$directory/cgroup.procs" "$directory/tasks"
      done < <(cgroup_v1_directories "$OFFSHOOT_CGROUP")
      ;;
    2)
      mount="$(cgroup_v2_mount)"
      directory="$mount/$OFFSHOOT_CGROUP"
      if ! echo '+cpu +memory +pids' >"$mount/cgroup.subtree_control"; then
        # Inside a container the top of the hierarchy is an ordinary cgroup, where the kernel allows processes or
        # controllers for children, not both.
        say "cannot delegate cgroup controllers: $mount has processes of its own, as in a container without its own init"
        return 1
      fi
      mkdir -p "$directory"
      echo '+cpu +memory +pids' >"$directory/cgroup.subtree_control"
      # A cgroup with controllers for its children may have no process of its own: the platform's processes live in a leaf.
      mkdir -p "$directory/platform"
      # The kernel's list of files for a delegatee (cgroup-v2.rst, "Model of Delegation"); not the limits.
      chown "$user:" "$directory" "$directory/platform"
      for file in cgroup.procs cgroup.threads cgroup.subtree_control; do
        chown "$user:" "$directory/$file" "$directory/platform/$file"
      done
      ;;
    *)
      say "this kernel offers no memory controller (is cgroup_disable=memory on its command line?)"
      return 1
      ;;
  esac
}

delegate_to_users() {
  local dropin=/etc/systemd/system/user@.service.d
  mkdir -p $dropin
  # By default a user's systemd gets memory and pids only.
  printf '%s\n' '# So that users may limit the processor time of what they run (written by Offshoot).' \
    '[Service]' 'Delegate=cpu memory pids' >$dropin/offshoot-delegate.conf
  systemctl daemon-reload
}

allow_user_namespaces() {
  local sysctl=/etc/sysctl.d/60-offshoot.conf
  if [[ "$(proc_value kernel/unprivileged_userns_clone)" == 0 ]]; then
    echo 'kernel.unprivileged_userns_clone = 1' >$sysctl
    sysctl -q -p $sysctl
  fi
  apparmor_profile_needed || return 0
  if [[ ! -e /etc/apparmor.d/abi/4.0 ]] || ! command -v apparmor_parser >/dev/null; then
    # Without the tools for a profile, only the switch for the whole machine helps.
    echo 'kernel.apparmor_restrict_unprivileged_userns = 0' >>$sysctl
    sysctl -q -p $sysctl
    return 0
  fi
  write_apparmor_profile >"$APPARMOR_PROFILE.new"
  mv "$APPARMOR_PROFILE.new" "$APPARMOR_PROFILE"
  apparmor_parser -r "$APPARMOR_PROFILE"
}

# The restriction of the machine stays; only our launcher, by its full path, and its children may make user namespaces.
write_apparmor_profile() {
  local path
  printf 'abi <abi/4.0>,\ninclude <tunables/global>\n\n'
  printf '@{offshoot_launchers} = /run/offshoot/checkout/worker/native/build/launcher\n'
  {
    [[ ! -e $APPARMOR_PROFILE ]] || sed -n 's/^@{offshoot_launchers} += "\(.*\)"$/\1/p' "$APPARMOR_PROFILE"
    printf '%s\n' "$CHECKOUT/worker/native/build/launcher"
  } | sort -u | while read -r path; do printf '@{offshoot_launchers} += "%s"\n' "$path"; done
  printf '\nprofile offshoot @{offshoot_launchers} flags=(unconfined) {\n  userns,\n}\n'
}

# Kernel documentation, networking/tuntap.rst: safe, because an interface still needs capabilities over a network
# namespace.
open_tun() {
  if [[ ! -c /dev/net/tun ]]; then
    mkdir -p /dev/net
    mknod /dev/net/tun c 10 200 || true
  fi
  # In a container without the device everything but egress works.
  chmod 0666 /dev/net/tun || echo 'note: /dev/net/tun is not available here; functions with network.egress will not start'
}

# A user namespace can make no device, only bind one. A bound device has the inode of its source, with its locks. /dev
# may hold devices, belongs to root, and is new after each boot.
make_devices() {
  local name number
  local -A minors=([null]=3 [zero]=5 [full]=7 [random]=8 [urandom]=9)
  mkdir -p "$DEVICE_SETS"
  # A file system of their own, where possible: the host's /dev shows a sandbox how much memory the host has.
  mountpoint -q "$DEVICE_SETS" ||
    mount -t tmpfs -o mode=755,nosuid,noexec,size=1m,nr_inodes=4k offshoot-devices "$DEVICE_SETS" || true
  rm -rf "$DEVICE_SETS/new"
  mkdir -p "$DEVICE_SETS/new/0"
  for name in "${!minors[@]}"; do mknod -m 0666 "$DEVICE_SETS/new/0/$name" c 1 "${minors[$name]}" || no_devices; done
  for number in {1..15}; do cp -a "$DEVICE_SETS/new/0" "$DEVICE_SETS/new/$number"; done
  # In order, so that the last group proves that all exist; each group appears whole, and an existing one stays.
  for ((number = 0; number < LAST_DEVICE_GROUP; number++)); do
    [[ ! -e "$DEVICE_SETS/$number" ]] || continue
    rm -rf "$DEVICE_SETS/next"
    cp -a "$DEVICE_SETS/new" "$DEVICE_SETS/next"
    mv -T "$DEVICE_SETS/next" "$DEVICE_SETS/$number"
  done
  mv -T "$DEVICE_SETS/new" "$DEVICE_SETS/$LAST_DEVICE_GROUP"
}

# In a container that may make no devices, sandboxes use those of the host; see SECURITY.md.
no_devices() {
  echo 'note: no device can be made here; tenants share the device files of the host'
  rm -rf "${DEVICE_SETS:?}"/*
  mkdir -p "$DEVICE_SETS/refused"
  exit 0
}

link_command() {
  mkdir -p /usr/local/bin
  ln -sfn "$CHECKOUT/cli/offshoot" /usr/local/bin/offshoot
}

if [[ $# -lt 2 || $EUID -ne 0 ]]; then
  say "usage, as root: privileged.sh packages|account|subids|cgroups|delegate|userns|tun|devices|link USER"
  exit 64
fi
user="$2"
case "$1" in
  packages) install_packages ;;
  account) make_account ;;
  subids) grant_subids ;;
  cgroups) delegate_cgroups ;;
  delegate) delegate_to_users ;;
  userns) allow_user_namespaces ;;
  tun) open_tun ;;
  devices) make_devices ;;
  link) link_command ;;
  *) fail "unknown step $1" "privileged.sh does not have it" "run: bash infra/setup.sh" ;;
esac
