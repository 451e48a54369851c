# Mount points of the cgroup hierarchies. Sourced by bash, after lib.sh. `mountinfo` is read, and not `mount`, because
# it also tells which part of a hierarchy a container sees.

# cgroup_v1_mount CONTROLLER - prints the mount point of the v1 hierarchy of a controller (cpu and cpuacct may share one).
cgroup_v1_mount() {
  awk -v want="$1" '{
    for (i = 7; i <= NF; i++) if ($i == "-") break
    if ($(i + 1) != "cgroup") next
    n = split($(i + 3), option, ",")
    for (k = 1; k <= n; k++) if (option[k] == want) { print $5; exit }
  }' /proc/self/mountinfo
}

# cgroup_v2_mount - prints the mount point of the v2 hierarchy.
cgroup_v2_mount() {
  awk '{ for (i = 7; i <= NF; i++) if ($i == "-") break; if ($(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo
}

# cgroup_version - 1 when the memory controller is in a v1 hierarchy (a controller is in one version only), else 2, else 0.
cgroup_version() {
  local v2
  if [[ -n "$(cgroup_v1_mount memory)" ]]; then
    printf 1
  elif v2="$(cgroup_v2_mount)" && [[ -n "$v2" ]] && grep -qw memory "$v2/cgroup.controllers"; then
    printf 2
  else
    printf 0
  fi
}

# cgroup_v1_directories NAME - our directory in each hierarchy that is needed, one a line.
cgroup_v1_directories() {
  local controller mount
  for controller in cpu cpuacct memory pids; do
    mount="$(cgroup_v1_mount "$controller")"
    [[ -z "$mount" ]] || printf '%s/%s\n' "$mount" "$1"
  done | sort -u
}

# user_manager_cgroup UID - the cgroup of a user's own systemd, or nothing where there is none.
user_manager_cgroup() {
  local path
  path="$(cgroup_v2_mount)/user.slice/user-$1.slice/user@$1.service"
  [[ -d "$path" && -S "/run/user/$1/systemd/private" ]] && printf '%s' "$path"
}

# delegates_all CGROUP - succeeds when cpu, memory and pids may be used below this v2 cgroup.
delegates_all() {
  local controllers
  [[ -r "$1/cgroup.controllers" ]] || return 1
  controllers=" $(<"$1/cgroup.controllers") "
  [[ "$controllers" == *' cpu '* && "$controllers" == *' memory '* && "$controllers" == *' pids '* ]]
}
