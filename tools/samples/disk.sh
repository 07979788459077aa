# Sourced by build: the bootable disk. MBR, a FAT partition with syslinux, kernel and initramfs, an ext4 partition for /data.

# Modules that init loads, in this order, with what they depend on. ext4, serial and the packet socket are built in;
# this kernel has no AHCI, so a seed disk is found on virtio-blk, virtio-scsi or (i440fx) IDE.
boot_modules='virtio_pci virtio_blk virtio_net isofs button evdev'
seed_modules='virtio_scsi ata_piix sr_mod'
# For a machine whose memory can grow, and for one with a display. This kernel has no USB.
memory_modules='virtio_mem'
pointer_modules='virtio_input'

build_disk() {
  local key kernel boot modules disk
  key=$(key_of "$here/build" "$here/disk.sh" "$here"/guest/*)
  if fresh tiny.qcow2 "$key"; then say "tiny.qcow2 is up to date"; return; fi

  local tool
  for tool in sfdisk mformat syslinux mke2fs cpio depmod qemu-img; do
    command -v "$tool" >/dev/null || die "$tool is missing: install the packages listed in tools/samples/packages"
  done
  kernel=$(kernel_package)
  boot=$(debian_package "$kernel")
  build_initramfs "$boot"

  disk="$work/tiny.raw"
  local fat_start=2048 fat_sectors=49152 data_start=51200 data_sectors=32768
  truncate -s $(((data_start + data_sectors) * 512)) "$disk"
  printf 'label: dos\nlabel-id: 0xbe274001\nstart=%d, size=%d, type=e, bootable\nstart=%d, size=%d, type=83\n' \
    $fat_start $fat_sectors $data_start $data_sectors | sfdisk -q "$disk"
  dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none

  # mtools and e2fsprogs work inside the file: no loop device, no mount.
  export MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH=$stamp E2FSPROGS_FAKE_TIME=$stamp
  local fat="$disk@@$((fat_start * 512))"
  mformat -i "$fat" -T $fat_sectors -H $fat_start -h 64 -s 32 -N be274001 -v BERTHBOOT ::
  cp "$here/guest/syslinux.cfg" "$work/"
  mcopy -i "$fat" "$work/vmlinuz" ::vmlinuz
  mcopy -i "$fat" "$work/initrd" ::initrd
  mcopy -i "$fat" "$work/syslinux.cfg" ::syslinux.cfg
  syslinux --install -t $((fat_start * 512)) "$disk"
  mke2fs -q -t ext4 -b 1024 -m 0 -U be270000-0000-4000-8000-000000000001 -L data \
    -E "offset=$((data_start * 512)),hash_seed=be270000-0000-4000-8000-000000000002,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
    "$disk" $((data_sectors / 2))
  qemu-img convert -f raw -O qcow2 -o compat=1.1 "$disk" "$work/tiny.qcow2"
  finish tiny.qcow2 "$work/tiny.qcow2" "$key"
}

# build_initramfs KERNEL_ROOT: writes $work/vmlinuz and $work/initrd.
build_initramfs() {
  local boot=$1 root="$work/initramfs" version list
  version=$(ls "$boot/lib/modules")
  cp "$boot/boot/vmlinuz-$version" "$work/vmlinuz"
  mkdir -p "$root"/{bin,data,dev,etc/acpi/PWRF,lib,proc,root,run,seed,srv,sys,tmp}
  cp "$(debian_package busybox-static)/bin/busybox" "$root/bin/busybox"
  local applet
  for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  ln -s bin "$root/sbin"
  install -m 755 "$here/guest/init" "$root/init"
  install -m 755 "$here/guest/rc" "$here/guest/dhcp" "$here/guest/down" "$root/etc/"
  install -m 755 "$here/guest/ready" "$here/guest/pointer" "$root/bin/"
  install -m 755 "$here/guest/power" "$root/etc/acpi/PWRF/00000080"
  install -m 644 "$here"/guest/{inittab,passwd,group} "$root/etc/"
  depmod -b "$boot" "$version"
  for list in boot seed memory pointer; do
    local names="${list}_modules" module
    for module in ${!names}; do
      modprobe -d "$boot" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' | while read -r path; do
      cp "$path" "$root/lib/"
      basename "$path"
    done >"$root/lib/$list.list"
  done
  find "$root" -exec touch -h -d @$stamp {} +
  (cd "$root" && find . -print0 | sort -z | cpio -0 -o -H newc --reproducible --quiet -R 0:0) >"$work/initrd.cpio"
  gzip -6n <"$work/initrd.cpio" >"$work/initrd"
}
