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
stop
ok "ext4 keeps files over a remount"
