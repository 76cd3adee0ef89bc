#!/bin/sh
# The guest's part of tests/demo. Disks: vda for most legs, vdb for the leg that dies, vdc the files.
set -eu

step() {
	echo "== $*"
}

fail() {
	echo "FAILED: $*"
	exit 1
}

# Every file's sum and every link's target below a directory.
manifest() {
	(cd "$1" && find . -type f -exec md5sum {} + && find . -type l -exec sh -c 'echo "$(readlink "$1") $1"' - {} \;) |
		sort -k 2
}

document=$PWD/stripe-of-mirrors.json
step "load the driver"
modprobe ubd

step "legs: three files on one disk, b.img on another, behind a dm table that can be made to fail"
sectors=$(cat /sys/block/vdb/size)
dmsetup create badleg --table "0 $sectors linear /dev/vdb 0"
dmsetup mknodes
mkfs.ext4 -q /dev/vda
mkfs.ext4 -q -O ^has_journal /dev/mapper/badleg
mkdir -p /legs /badleg /pristine /mnt/vol0
mount /dev/vda /legs
mount /dev/mapper/badleg /badleg
mount -o ro /dev/vdc /pristine
truncate -s 261M /badleg/b.img
ln -s /badleg/b.img /legs/b.img
cp "$document" /legs/tree.json

step "ubd-compose check tree.json"
ubd-compose check /legs/tree.json

step "ubd-compose create tree.json"
device=$(ubd-compose create /legs/tree.json)
echo "   -> $device"

step "mkfs.ext4 $device, mount, copy $(du -sh /pristine | cut -f1) in $(find /pristine | wc -l) files"
mkfs.ext4 -q "$device"
mount "$device" /mnt/vol0
cp -a /pristine/. /mnt/vol0/ &
copy=$!

while [ "$(df -m /mnt/vol0 | awk 'END { print $3 }')" -lt 50 ]; do
	kill -0 "$copy" 2>/dev/null || break
	sleep 0.2
done
kill -0 "$copy" || fail "the copy ended before a leg could fail"
step "half-way ($(df -m /mnt/vol0 | awk 'END { print $3 }') MiB): the disk under b.img dies"
dmsetup suspend --nolockfs badleg
dmsetup reload badleg --table "0 $sectors error"
dmsetup resume badleg
wait "$copy" || fail "the copy saw an error"
sync
step "the copy has ended without an error; ubd-compose status vol0"
ubd-compose status vol0
[ "$(ubd-compose status vol0 --json | tr -d ' \n' | grep -c '"failed":true')" = 1 ] ||
	fail "no leg has failed: the demonstration has shown nothing"

step "unmount, ubd-compose delete vol0"
umount /mnt/vol0
ubd-compose delete vol0

step "the disk comes back, with old data: b.img is stale and must not be read"
# As one does who has replaced a cable: the file system that saw its disk die is mounted anew.
umount /badleg
dmsetup suspend --nolockfs badleg
dmsetup reload badleg --table "0 $sectors linear /dev/vdb 0"
dmsetup resume badleg
fsck.ext4 -fy /dev/mapper/badleg >/tmp/fsck 2>&1 || [ $? -le 1 ] || fail "fsck: $(cat /tmp/fsck)"
mount /dev/mapper/badleg /badleg

step "ubd-compose create tree.json, again"
device=$(ubd-compose create /legs/tree.json)
mount "$device" /mnt/vol0
step "compare every file"
manifest /pristine >/tmp/before
manifest /mnt/vol0 >/tmp/after
cmp /tmp/before /tmp/after || fail "the trees differ"
[ "$(wc -l </tmp/after)" -gt 10000 ] || fail "only $(wc -l </tmp/after) files were compared"
echo "   $(wc -l </tmp/after) files and links compared"
umount /mnt/vol0
ubd-compose delete vol0

umount /legs /badleg /pristine
rmmod ubd
echo "VERDICT: every file is identical after a leg failed, came back stale and was not read before it was brought up to date. The demonstration passed."
