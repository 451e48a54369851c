#!/usr/bin/env bash
# fill-root.sh ROOT - adds to the guest's root file system what its packages do not bring. mmdebstrap runs this as a
# hook, while the package lists are still in ROOT: so the kernel's signature is checked like that of every package.
set -euo pipefail
root="$1"

# Only the kernel and its modules: the package's own set-up would make an initramfs and a boot loader's entry. NVMe and
# ext4 are built into this kernel, so that it finds its disk without an initramfs.
chroot "$root" bash -euc '
  mkdir /tmp/kernel && cd /tmp/kernel && chmod 777 .
  apt-get download -q "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: //p")"
  dpkg-deb -x linux-image-*.deb unpacked
  mv unpacked/boot/vmlinuz-* /boot/vmlinuz
  mkdir -p /usr/lib/modules
  mv unpacked/lib/modules/* /usr/lib/modules/
  depmod "$(ls /usr/lib/modules)"
  rm -r /tmp/kernel'

# Units that no test needs, and that start slowly on a processor in software.
for unit in redis-server.service getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer fstrim.timer systemd-update-utmp.service systemd-journal-flush.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# The one service of this machine: runs the program on the second disk. There is no udev, so it is mounted by its name.
cat >"$root/etc/systemd/system/offshoot-vm.service" <<'UNIT'
[Unit]
Description=Tests of Offshoot
After=dbus.service systemd-logind.service systemd-user-sessions.service
Wants=dbus.service systemd-logind.service systemd-user-sessions.service

[Service]
Type=oneshot
ExecStart=/bin/bash -c 'mkdir -p /payload && mount /dev/nvme1n1 /payload && exec bash /payload/checkout/test/vm/guest.sh'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
FailureAction=poweroff-force
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf /etc/systemd/system/offshoot-vm.service "$root/etc/systemd/system/multi-user.target.wants/"
echo offshoot-vm >"$root/etc/hostname"
echo '127.0.0.1 localhost offshoot-vm' >"$root/etc/hosts"
