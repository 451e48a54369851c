#!/usr/bin/env bash
# `npm run test:vm [-- FILTER...]`: cgroup v2 for real. Boots Debian's cloud kernel in a virtual machine without KVM,
# with systemd and nothing mounted from this host. The isolation tests and the limit scenarios run there as an ordinary
# user. Only this script installs the packages that it needs of the host, since the general set-up does not need them.
set -euo pipefail
# shellcheck source=../lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=../host/checks.sh
source "$CHECKOUT/infra/host/checks.sh"

HOST_PACKAGES=(qemu-system-x86 mmdebstrap fakeroot e2fsprogs)
GUEST_PACKAGES=(systemd systemd-sysv dbus libpam-systemd uidmap redis-server ca-certificates procps iproute2 kmod nftables
  slirp4netns)
# Upper bound on the time of the machine, so that a hanging one ends. The whole took 7 to 12 minutes on two cores with a
# load of 7 to 20.
LIMIT_S=1200
MEMORY_MB=2048
filter=("$@")
cd "$CHECKOUT"
umask 022

bash infra/setup.sh
SETUP_LOG="$OFFSHOOT_CACHE/test-vm.log"

# The guest is the Debian of this host: the native parts are built against its C library.
release="$(. /etc/os-release && [[ "$ID" == debian ]] && printf '%s' "$VERSION_CODENAME")" ||
  fail "this host is not Debian" "the guest is made of the host's own release, with Debian's cloud kernel" "use a Debian host"

# install_host_packages NAME... - with `as_root` before what root must do.
install_host_packages() {
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
  # Fresh machines have no package lists, and old lists name versions that the mirror no longer has.
  "${install[@]}" "$@" || { "${as_root[@]}" apt-get update -q && "${install[@]}" "$@"; }
}

# root_inputs - everything that the guest's root file system is made from, except the archive's state of the day.
root_inputs() {
  { cat test/vm/fill-root.sh && printf '%s\n' "$release" "${GUEST_PACKAGES[@]}"; } | sha256sum | cut -c1-16
}

# build_root DIRECTORY - root.ext4 and vmlinuz, from signed packages. Neither root nor a loop device is needed:
# fakeroot remembers the owners, and mke2fs copies from a directory. (`step` looks at the end of a function only.)
build_root() {
  local new="$1.new" packages proxy='' options=()
  printf -v packages '%s,' "${GUEST_PACKAGES[@]}"
  # mmdebstrap reads nothing of this host's apt configuration by itself.
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  [[ -z "$proxy" ]] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
  # shellcheck disable=SC2016 # $1 is the hook's.
  rm -rf "$1" "$new" && mkdir -p "$new/root" &&
    mmdebstrap --variant=minbase --format=tar --include="${packages%,}" "${options[@]}" \
      --customize-hook='bash test/vm/fill-root.sh "$1"' "$release" "$new/root.tar" &&
    fakeroot bash -euc '
      tar -C "$1/root" -xf "$1/root.tar"
      cp "$1/root/boot/vmlinuz" "$1/vmlinuz"
      PATH=/usr/sbin:/sbin:$PATH mke2fs -q -t ext4 -O ^has_journal -d "$1/root" "$1/root.ext4" 1500M' build "$new" &&
    rm -rf "$new/root" "$new/root.tar" && mv "$new" "$1" &&
    # Removes those of earlier inputs that have not been booted for a month.
    find "$OFFSHOOT_CACHE/vm" -mindepth 1 -maxdepth 1 -name 'root-*' -mtime +30 -exec rm -rf {} +
}

# build_payload FILE - the checkout without the files that no test in the guest runs, and the runtime images.
build_payload() {
  local stage="$work/stage" left_out=() name
  for name in .git bench node_modules/{@cloudflare,workerd,@typescript,typescript,@ox*,ox*}; do
    left_out+=(--exclude="./$name")
  done
  mkdir -p "$stage/checkout" "$stage/state" &&
    tar -cf - "${left_out[@]}" . | tar -C "$stage/checkout" -xf - &&
    chmod -R go+rX "$stage/checkout" &&
    cp -a "$OFFSHOOT_STATE/images" "$stage/state/" &&
    chown --reference="$OFFSHOOT_STATE/images" "$stage/state" &&
    # Filters of the caller, for test/vm/guest.sh.
    : >"$stage/filter" && { [[ ${#filter[@]} -eq 0 ]] || printf '%s\0' "${filter[@]}" >"$stage/filter"; } &&
    PATH="/usr/sbin:/sbin:$PATH" mke2fs -q -t ext4 -O ^has_journal -d "$stage" "$1" 2500M &&
    rm -r "$stage"
}

# boot - the lines of the guest's second serial line; its console goes to a file. -snapshot: the disks stay as they are.
boot() {
  exec bash infra/as-service-user.sh timeout --kill-after=10 "$LIMIT_S" nice -n 10 qemu-system-x86_64 \
    -machine q35,accel=tcg -cpu max -smp 2 -m "$MEMORY_MB" -nodefaults -no-user-config -display none -no-reboot -snapshot \
    -kernel "$root/vmlinuz" -append 'root=/dev/nvme0n1 rw console=ttyS0 panic=-1 quiet loglevel=3 systemd.show_status=false' \
    -drive "if=none,id=root,format=raw,file=$root/root.ext4" -device nvme,serial=root,drive=root \
    -drive "if=none,id=payload,format=raw,file=$work/payload.ext4" -device nvme,serial=payload,drive=payload \
    -serial "file:$work/console" -chardev stdio,id=results,signal=off -serial chardev:results </dev/null
}

# report - prints the lines that the guest sends, and counts them in `passed` and `failed`.
report() {
  local line ended=''
  while IFS= read -r line; do
    line="${line%$'\r'}"
    case "$line" in
      'end '*) ended="${line#end }" ;;
      *': held') passed=$((passed + 1)) ;;
      *': FAILED') failed=$((failed + 1)) ;;
    esac
    [[ "$line" == 'end '* ]] || printf '%s\n' "$line"
  done
  if [[ -z "$ended" ]]; then
    say "the machine ended without a result, or was ended after $LIMIT_S s; the end of its console:"
    tail -n 40 "$work/console" >&2 || true
    failed=$((failed + 1))
  elif [[ "$ended" != 0 ]]; then
    say "the end of the machine's console:"
    tail -n 40 "$work/console" >&2 || true
    [[ $failed -gt 0 ]] || failed=1
  fi
}

mapfile -t missing < <(DEBIAN_PACKAGES=("${HOST_PACKAGES[@]}") && missing_packages)
if [[ ${#missing[@]} -gt 0 ]]; then
  as_root=()
  if [[ $EUID -ne 0 ]]; then
    say "sudo: installing Debian packages: ${missing[*]}"
    # The password is asked for here, where the terminal is.
    sudo -v
    as_root=(sudo --)
  fi
  step "Debian packages for the virtual machine: ${missing[*]}" install_host_packages "${missing[@]}"
fi
mkdir -p "$OFFSHOOT_CACHE/vm"
root="$OFFSHOOT_CACHE/vm/root-$(root_inputs)"
exec {turn}>>"$OFFSHOOT_CACHE/vm/lock"
flock "$turn"
[[ -e "$root/root.ext4" ]] || step "root file system of the virtual machine" build_root "$root"
touch "$root"
flock -u "$turn"

work="$(mktemp -d "${TMPDIR:-/tmp}/offshoot-vm-XXXXXX")"
machine=''
# However this script ends, the machine ends as well.
trap '[[ -z "$machine" ]] || kill "$machine" 2>/dev/null || true; rm -rf "$work"' EXIT
step "disk with the checkout and the runtime images" build_payload "$work/payload.ext4"
chown -R "$SERVICE_USER" "$work"
started="$(now_ms)"
mkfifo "$work/results"
boot >"$work/results" 2>"$work/qemu.log" &
machine=$!
passed=0 failed=0
report <"$work/results"
# Only the guest's results count: qemu ends with 0 whatever happened in it.
wait "$machine" || true
machine=''
[[ ! -s "$work/qemu.log" ]] || cat "$work/qemu.log" >&2
say "the virtual machine ran for $(seconds_since "$started")"
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
