# vm: -k all -t 100 -m 1024 -f tests/vm/driver/serve.sh
# A file system works on a V2 server's disk, through the page cache and over a remount.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./serve.sh
modprobe ubd
serve -q 2 -C -s 128
mkfs.ext4 -q "$disk"
mkdir mnt
mount "$disk" mnt
cp -r /usr/lib/modules mnt/copy
umount mnt
mount "$disk" mnt
diff -r /usr/lib/modules mnt/copy || fail "files differ"
umount mnt

# A block that looks like one of the journal's own goes there from a slab whose objects are not for users.
for _ in 1 2 3 4 5 6 7 8; do printf '\300;9\230' && head -c 1020 /dev/zero; done >block
mkfs.ext4 -q -b 1024 "$disk"
mount -o data=journal "$disk" mnt
cp block mnt
umount mnt
mount "$disk" mnt
cmp block mnt/block || fail "the escaped blocks differ"
umount mnt
stop
ok "ext4 keeps files over a remount"
