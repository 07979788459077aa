# Sourced by build, two outputs of one installation. First a Debian as an OCI image that boots as a system container: systemd, sshd. Upon
# that a Debian disk as clouds have it: systemd, cloud-init (NoCloud), qemu-guest-agent, sshd, GRUB for BIOS.
# MBR and one ext4 partition, made inside a file: no loop device. Packages come by this machine's own apt sources.

system_include='systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,iputils-ping,procps,less,ca-certificates,login,passwd'
debian_include='udev linux-image-cloud-amd64 initramfs-tools grub-pc-bin grub-common cloud-init netplan.io systemd-resolved
cloud-guest-utils fdisk e2fsprogs qemu-guest-agent'

build_debian() {
  local key root="$work/debian" disk="$work/debian.raw" start=2048 size_mib=2048 suite
  key=$(key_of "$here/build" "$here/debian.sh" "$here"/debian/* "$here/system" "$here/container.sh")
  if fresh debian.qcow2 "$key" && fresh debian.oci.tar "$key"; then say "debian.oci.tar and debian.qcow2 are up to date"; return; fi
  local tool
  for tool in mmdebstrap zstd sfdisk mke2fs qemu-img; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install mmdebstrap zstd fdisk e2fsprogs qemu-utils"
  done
  [ "$(id -u)" = 0 ] || die 'debian.qcow2 is made of files that belong to root: run this as root'
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

  export SOURCE_DATE_EPOCH=$stamp E2FSPROGS_FAKE_TIME=$stamp
  debian_root "$root" "$suite"
  zstd -q -3 "$work/system.tar" -o "$work/system.tar.zst"
  oci_archive debian "$work/system.tar" zstd '"Entrypoint":["/sbin/init"],"StopSignal":"SIGRTMIN+3"'
  finish debian.oci.tar "$work/debian.oci.tar" "$key"
  truncate -s $((size_mib * 1024 * 1024)) "$disk"
  printf 'label: dos\nlabel-id: 0xbe274002\nstart=%d, type=83, bootable\n' $start | sfdisk -q "$disk"
  # The boot sector finds the rest of GRUB behind it, in the gap before the first partition, which begins at sector 1 and
  # knows its own length: grub-mkimage(1) writes it.
  dd if="$root/usr/lib/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
  [ "$(stat -c %s "$root/boot/grub/core.img")" -lt $(((start - 1) * 512)) ] || die 'GRUB does not fit before the partition'
  dd if="$root/boot/grub/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
  # Without what this release's GRUB cannot read.
  mke2fs -q -t ext4 -m 1 -d "$root" -L root -U "$debian_uuid" -O '^metadata_csum_seed,^orphan_file' \
    -E "offset=$((start * 512)),hash_seed=be270000-0000-4000-8000-000000000004,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
    "$disk" $(((size_mib * 1024 * 1024 / 512 - start) / 2))k
  rm -rf --one-file-system "$root"
  qemu-img convert -f raw -O qcow2 -o compat=1.1 "$disk" "$work/debian.qcow2"
  finish debian.qcow2 "$work/debian.qcow2" "$key"
}

debian_uuid=be270000-0000-4000-8000-000000000003

# debian_root DIR SUITE: installs the packages below DIR and makes of them what a new machine begins with. On the way there, before what
# only a machine needs is installed, it writes $work/system.tar: what a system container begins with.
debian_root() {
  local root=$1 suite=$2 sources=() f
  for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
    [ -f "$f" ] && grep -qE "(^|[[:space:]])$suite([[:space:]]|\$)" "$f" && sources+=("$f")
  done
  [ ${#sources[@]} -gt 0 ] || die "no apt source of this machine names $suite: look at /etc/apt/sources.list"
  say "debian.oci.tar and debian.qcow2: installing a Debian ($suite) with the packages that it needs"
  mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$system_include" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook="$(system_hook)" \
    --customize-hook="cp -R '$here/debian/before/.' \"\$1/\"" \
    --customize-hook="APT_CONFIG=\"\$MMDEBSTRAP_APT_CONFIG\" DEBIAN_FRONTEND=noninteractive apt-get -qq --yes \
      -o DPkg::Chroot-Directory=\"\$1\" -o APT::Install-Recommends=false install ${debian_include//$'\n'/ }" \
    "$suite" "$root" "${sources[@]}" >&2 || die 'mmdebstrap failed'
  cp -R "$here/debian/after/." "$root/"
  sed -i "s/@ROOT@/$debian_uuid/" "$root/boot/grub/grub.cfg"
  printf 'UUID=%s / ext4 defaults 0 1\n' "$debian_uuid" >"$root/etc/fstab"
  chroot "$root" grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/core.img \
    biosdisk part_msdos ext2 normal linux configfile serial terminal
  ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  # What each machine must have of its own, and what installing left.
  : >"$root/etc/machine-id"
  echo localhost >"$root/etc/hostname"
  rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/cache/ldconfig/aux-cache"
  find "$root/var/log" -type f -delete
  chroot "$root" passwd -l root >/dev/null
}

# system_hook: prints what mmdebstrap runs once the packages of a system container are there. Left out is what each has of its own.
system_hook() {
  local out=() path
  for path in 'dev/*' 'proc/*' 'sys/*' 'run/*' 'tmp/*' 'var/cache/*' 'var/lib/apt/lists/*' 'var/log/*' 'etc/ssh/ssh_host_*' \
    etc/machine-id var/lib/dbus/machine-id etc/hostname etc/resolv.conf; do
    out+=("--exclude='./$path'")
  done
  local how="--format=ustar --sort=name --mtime=@$stamp --numeric-owner"
  echo "tar -C \"\$1\" $how ${out[*]} -cf '$work/system.tar' . && tar -C '$here/system' $how --owner=0 --group=0 -rf '$work/system.tar' ."
}
