# shellcheck shell=sh
# vm: -k any -d 64M -d 64M -d 64M -t 240
# Disks as leaves: what is on them, who has them, what stands on what. `replay` is create without a driver.
. ./guest.sh

echo 'write 0 64K 1
read 0 64K 1
flush' >script

# tree NAME LEAF...: a stripe over these; a leaf is type:path.
tree() {
	_name=$1 _children='' _place=0
	shift
	for _leaf in "$@"; do
		_children="$_children${_children:+,}{ \"id\": \"d$_place\", \"type\": \"${_leaf%%:*}\", \"path\": \"${_leaf#*:}\" }"
		_place=$((_place + 1))
	done
	echo "{ \"format\": 1, \"name\": \"$_name\",
\"root\": { \"id\": \"r\", \"type\": \"stripe\", \"children\": [ $_children ] } }" >"$_name.json"
}

# refused WHAT WORDS COMMAND...: fails with these words among its messages.
refused() {
	_what=$1 _words=$2
	shift 2
	refuses "$_what" "$@" >out 2>err
	grep -qF "$_words" err || fail "$_what: '$_words' is not in: $(cat err)"
	ok "$_what"
}

sum() { sha256sum <"$1"; }

tree one block:/dev/vda
ubd-compose replay one.json script >out 2>err || fail "a blank disk is not taken: $(cat out err)"
expect 'a blank disk is formatted' 'ubd-compose: d0: /dev/vda is formatted' "$(grep formatted err)"
ubd-compose replay one.json script >out 2>err || fail "its own disk is not recognised: $(cat out err)"
expect 'and then recognised' '' "$(cat err)"
ubd-compose check one.json >out 2>err || fail "check: $(cat err)"
grep -q 'd0  block  59 MiB\|r  stripe  59 MiB' out || fail "front and tail are not kept: $(cat out)"
ok 'the front of 4 MiB and the tail of 1 MiB are ours'
expect 'libblkid sees nothing on it' '' "$(blkid -p /dev/vda 2>&1 || true)"

mkfs.ext4 -q -L home /dev/vdb
before=$(sum /dev/vdb)
tree fs block:/dev/vda block:/dev/vdb
tree home block:/dev/vdb
refused 'a file system is refused' '/dev/vdb holds an ext4 file system labelled home; use --force' \
	ubd-compose replay home.json script
expect 'a refused disk is untouched' "$before" "$(sum /dev/vdb)"
mkdir -p /mnt/home
mount /dev/vdb /mnt/home
refused 'a mounted disk is refused' '/dev/vdb is mounted at /mnt/home (ext4)' \
	ubd-compose replay --force home.json script
refused 'and so says check' '/dev/vdb is mounted at /mnt/home (ext4)' ubd-compose check --force home.json
umount /mnt/home
ubd-compose replay --force home.json script >out 2>err || fail "force: $(cat err)"
expect 'force overwrites it' 'ubd-compose: d0: /dev/vdb is formatted over an ext4 file system labelled home' "$(cat err)"
expect 'of which nothing is left' '' "$(blkid -p /dev/vdb 2>&1 || true)"
tree home block:/dev/vdb
ubd-compose replay home.json script >out 2>err || fail "recognised after force: $(cat err)"

tree twice block:/dev/vda block:/dev/vda
refused 'the same disk twice' '/dev/vda is the same disk as /dev/vda of d0' ubd-compose replay twice.json script
ln -s /dev/vda link
tree twice block:/dev/vda block:link
refused 'the same disk by a link' 'link is the same disk as /dev/vda of d0' ubd-compose replay twice.json script

# A partition and its disk.
printf '%s\n' n p 1 '' +20M n p 2 '' +20M w | fdisk /dev/vdc >/dev/null 2>&1 || true
tree parts block:/dev/vdc
refused 'a partition table is refused' '/dev/vdc holds an MBR partition table' ubd-compose replay parts.json script
within 'its partitions are there' 5 test -b /dev/vdc2
tree parts block:/dev/vdc block:/dev/vdc1
refused 'a disk and its partition' '/dev/vdc1 shares bytes with /dev/vdc of d0' ubd-compose replay --force parts.json script
tree parts block:/dev/vdc1 block:/dev/vdc2
ubd-compose replay parts.json script >out 2>err || fail "two partitions of a disk are apart: $(cat err)"
ok 'two partitions of one disk are two leaves'

# dm over a leaf.
echo '0 20480 linear /dev/vda 0' | dmsetup create over
tree dm block:/dev/mapper/over block:/dev/vda
refused 'a volume and the disk below it' '/dev/vda shares bytes with /dev/mapper/over of d0' \
	ubd-compose replay --force dm.json script
refused 'a disk below a volume says what stands on it' '/dev/vda ' ubd-compose replay one.json script
dmsetup remove over

# Loop devices, files, bind mounts.
truncate -s 32M a.img
loop=$(losetup -f --show a.img)
tree loop "file:a.img" "block:$loop"
refused 'a file and its loop device' "$loop shares bytes with" ubd-compose replay loop.json script
other=$(losetup -f --show a.img)
tree loop "block:$loop" "block:$other"
refused 'two loop devices over one file' "$other shares bytes with $loop of d0" ubd-compose replay loop.json script
losetup -d "$other"
other=$(losetup -f --show -o 16777216 a.img)
losetup -d "$loop"
loop=$(losetup -f --show --sizelimit 16777216 a.img)
tree loop "block:$loop" "block:$other"
ubd-compose replay loop.json script >out 2>err || fail "two windows of a file are apart: $(cat err)"
ok 'two loop devices over different parts of one file are two leaves'
losetup -d "$loop" "$other"
mkdir bound
truncate -s 32M b.img
mount --bind . bound
tree bind file:b.img file:bound/b.img
sed -i 's/"type": "file"/"type": "file", "direct": false/g' bind.json
refused 'the same file through a bind mount' 'bound/b.img is the same file as' ubd-compose replay bind.json script
umount bound

loop=$(losetup -f --show -r b.img)
tree readonly "block:$loop"
refused 'a read-only disk is refused' "$loop" ubd-compose replay readonly.json script
losetup -d "$loop"

# Members of others.
truncate -s 64M m0.img m1.img
loop=$(losetup -f --show m0.img)
other=$(losetup -f --show m1.img)
modprobe raid1 2>/dev/null || true
tree raid "block:$loop"
for metadata in 0.90 1.0 1.1 1.2; do
	mdadm --create /dev/md9 --run --quiet --metadata=$metadata --level=1 --raid-devices=2 "$loop" "$other" 2>/dev/null ||
		fail "mdadm $metadata"
	refused "a disk of a running array ($metadata)" "$loop " ubd-compose replay --force raid.json script
	mdadm --stop --quiet /dev/md9
	refused "a member of an array ($metadata)" "$loop holds a Linux RAID member" ubd-compose replay raid.json script
	ubd-compose replay --force raid.json script >out 2>err || fail "force over a member: $(cat err)"
	expect 'nothing of it is left' '' "$(blkid -p "$loop" 2>&1 || true)"
	wipefs -qa "$loop" "$other" 2>/dev/null || true
	dd if=/dev/zero of="$loop" bs=1M count=8 2>/dev/null
	dd if=/dev/zero of="$other" bs=1M count=8 2>/dev/null
done
losetup -d "$loop" "$other"

# A file on a disk that is a leaf too, and one without O_DIRECT.
mkfs.ext4 -q -F /dev/vdb
mount /dev/vdb /mnt/home
truncate -s 32M /mnt/home/x.img
tree inside file:/mnt/home/x.img block:/dev/vdb
refused 'a file and the disk below its file system' '/dev/vdb shares bytes with /mnt/home/x.img of d0' \
	ubd-compose replay --force inside.json script
umount /mnt/home
