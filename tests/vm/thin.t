# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k 6.12 -d 2500M -m 1024 -t 480
# A device on an image that qemu-img made, over another: a file system on it, killed and served again, and judged by qemu-img.
. ./guest.sh

load_driver
make_legs
cd /legs

qemu-img create -q -f raw base.img 192M
dd if=/dev/urandom of=base.img bs=1M count=8 conv=notrunc 2>/dev/null
qemu-img create -q -f qcow2 -b base.img -F raw volume.qcow2 256M
cat >tree.json <<'END'
{ "format": 1, "name": "v0", "root": { "type": "thin",
    "data": { "type": "file", "path": "volume.qcow2" }, "backing": { "type": "file", "path": "base.img" } } }
END
device=$(ubd-compose create tree.json) || fail 'create'
cmp -n $((8 << 20)) "$device" base.img || fail 'what was not written is not what backing has'
ok 'a device on an image over backing reads backing'

mkfs.ext4 -q "$device"
mkdir -p /mnt
mount "$device" /mnt
dd if=/dev/urandom of=/mnt/a bs=64k count=300 2>/dev/null
dd if=/dev/urandom of=/mnt/b bs=4k count=500 2>/dev/null
sync
md5sum /mnt/a /mnt/b >sums
rm /mnt/b
sync # else it is not free yet
fstrim /mnt || true # or not at all, where the leg has no discard
cp /mnt/a /mnt/c
umount /mnt
ubd-compose status v0 --json | grep -q '"reclaimed": *[1-9]' || fail "nothing is reclaimed: $(ubd-compose status v0)"
fio --name=v --filename="$device" --offset=200M --rw=randrw --bsrange=4k-128k --size=16M --iodepth=16 --ioengine=io_uring --direct=1 \
	--verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "fio: $(cat fio.out)"
dd if="$device" of=all bs=1M iflag=direct 2>/dev/null
for called in v0 "$device" tree.json; do
	ubd-compose map --json "$called" >"map.${called##*[/.]}" || fail "map $called"
done
ubd-compose delete v0 || fail 'delete'
ubd-compose map --json tree.json >map.after || fail 'map of what was served'
for told in map.*; do
	cmp "$told" map.after || fail "$told: $(head -n 5 "$told")"
done
[ "$(wc -l <map.after)" -gt 20 ] || fail "map: $(cat map.after)"
ok 'a live device tells the map that its image has'
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
qemu-img compare -q -f qcow2 -F raw volume.qcow2 all || fail 'qemu-img reads something else'
ok 'after a stop qemu-img finds no fault and the same bytes'
rm all

device=$(ubd-compose create tree.json) || fail 'create again'
fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "fsck: $(cat fsck.out)"
mount "$device" /mnt
grep /mnt/a sums | md5sum -c >/dev/null || fail 'a file has changed'
dd if=/dev/urandom of=/mnt/d bs=64k count=100 2>/dev/null
sync
md5sum /mnt/d >>sums
pid=$(ubd-compose status v0 --json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' | head -n 1)
kill -9 "$pid"
umount /mnt 2>/dev/null || umount -l /mnt
status=0
qemu-img check -q volume.qcow2 >check.out 2>&1 || status=$?
case $status in 0 | 3) ok 'after a kill qemu-img finds lost clusters at most' ;; *) fail "check: $(cat check.out)" ;; esac
i=0
until device=$(ubd-compose create tree.json 2>err); do
	i=$((i + 1))
	[ $i -lt 50 ] || fail "create after a kill: $(cat err)"
	sleep 0.2
done
mount "$device" /mnt
md5sum -c sums 2>/dev/null | grep -q '/mnt/d: OK' || fail 'what was synced before the kill is gone'
ok 'what was acknowledged survives a kill'
umount /mnt
ubd-compose delete v0 || fail 'delete'
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
ok 'and the next stop leaves no cluster lost'

sed 's/"root"/"device": { "read_only": true }, &/' tree.json >seen.json
device=$(ubd-compose create seen.json) || fail 'create of what is only read'
ubd-compose clone seen.json clone.qcow2 >clone.json || fail 'clone of what is only read'
other=$(ubd-compose create clone.json) || fail 'create of a clone'
dd if=/dev/urandom of="$other" bs=64k count=16 seek=100 oflag=direct 2>/dev/null
cmp -n $((100 << 16)) "$device" "$other" || fail 'a clone reads something else'
ubd-compose delete v0 && ubd-compose delete clone || fail 'delete of both'
qemu-img check -q clone.qcow2 || fail "check of a clone: $(qemu-img check clone.qcow2 2>&1)"
qemu-img snapshot -c brief volume.qcow2 && qemu-img snapshot -d brief volume.qcow2 # leaves free clusters
device=$(ubd-compose create tree.json) || fail 'create once more'
ubd-compose clone tree.json other.qcow2 >clone.out 2>&1 && fail 'what is written to is cloned'
grep -q 'v0 is being served and can be written to' clone.out || fail "clone of what is written to: $(cat clone.out)"
ok 'what can only be read is cloned while it is served'
ubd-compose trim v0 >trim.out 2>&1 || fail "trim: $(cat trim.out)"
grep -Eq '^[1-9][0-9]* bytes were free, [1-9][0-9]* of them have been discarded below$' trim.out ||
	fail "what QEMU left free isn't given back: $(cat trim.out)"
mount "$device" /mnt
md5sum -c sums 2>/dev/null | grep -q '/mnt/d: OK' || fail 'after a trim a file has changed'
ok 'trim gives back what is free'
ubd-compose flatten v0 || fail 'flatten'
dd if=/dev/urandom of=/mnt/e bs=64k count=100 2>/dev/null
i=0
until ubd-compose status v0 --json | grep -q '"flatten": *"done"'; do
	i=$((i + 1))
	[ $i -lt 900 ] || fail "flatten doesn't end: $(ubd-compose status v0)"
	sleep 0.1
done
ubd-compose events v0 | grep -q flattened || fail "events: $(ubd-compose events v0)"
md5sum -c sums 2>/dev/null | grep -q '/mnt/d: OK' || fail 'flattened, a file has changed'
umount /mnt
dd if="$device" of=all bs=1M iflag=direct 2>/dev/null
ubd-compose delete v0 || fail 'delete'
mv base.img away.img
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
qemu-img compare -q -f qcow2 -F raw volume.qcow2 all || fail 'qemu-img reads something else without the backing'
sed 's/, "backing".*/ } }/' tree.json >alone.json
ubd-compose check alone.json >/dev/null || fail 'a document without the backing'
mv away.img base.img
rm all
ok 'a flattened image stands by itself'

# A file system that is full below: what needs room waits, all else goes on, and nobody has to tell us when there is some.
until_so() { # WHAT COMMAND...: it succeeds, in the end
	what=$1 tries=0
	shift
	until "$@" >until.out 2>&1; do
		[ $((tries += 1)) -lt 600 ] || fail "$what: $(cat until.out)"
		sleep 0.2
	done
}
waits() { ubd-compose status v1 --json | grep -q '"waiting": *[1-9]'; }
mkdir /small
mount -t tmpfs -o size=3M none /small
cat >small.json <<'END'
{ "format": 1, "name": "v1", "root": { "type": "thin", "size": "64MiB", "when_full": "queue", "no_space_timeout": 0,
    "data": { "type": "file", "path": "/small/volume.qcow2", "direct": false } } }
END
device=$(ubd-compose create small.json) || fail 'create on a small store'
dd if=/dev/urandom of=some bs=64k count=64 2>/dev/null
dd if=some of="$device" bs=64k oflag=direct 2>dd.out &
writer=$!
until_so 'nobody waits' waits
dd if="$device" of=/dev/null bs=64k count=4 skip=1000 iflag=direct 2>/dev/null || fail 'a read beside who waits'
dd if=some of="$device" bs=64k count=4 oflag=direct conv=notrunc 2>/dev/null || fail 'an overwrite beside who waits'
mount -o remount,size=8M /small
wait $writer || fail "who waited: $(cat dd.out)"
cmp -n $((4 << 20)) some "$device" || fail 'other bytes after a wait'
ubd-compose events v1 | grep -q space_again || fail "events: $(ubd-compose events v1)"
ok 'a write waits until the file system below has room'
dd if=/dev/urandom of="$device" bs=64k seek=64 oflag=direct 2>dd.out &
writer=$!
until_so 'nobody waits again' waits
kill -TERM "$(ubd-compose status v1 --json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' | head -n 1)"
wait $writer && fail 'a write for which there is no room has succeeded'
grep -q 'No space left' dd.out || fail "who waited at the stop: $(cat dd.out)"
until_so 'check after a stop' qemu-img check -q /small/volume.qcow2
ok 'a stop ends who waits'

# A disk that is full, and becomes larger: nobody tells us either.
modprobe loop
truncate -s 4M /small/disk.img
disk=$(losetup -f --show /small/disk.img)
cat >disk.json <<END
{ "format": 1, "name": "v2", "root": { "type": "thin", "size": "64MiB", "when_full": "queue", "no_space_timeout": 0,
    "data": { "type": "block", "path": "$disk" } } }
END
rm /small/volume.qcow2
mount -o remount,size=32M /small
device=$(ubd-compose create disk.json) || fail 'create on a disk'
dd if=some of="$device" bs=64k oflag=direct 2>dd.out &
writer=$!
waits() { ubd-compose status v2 --json | grep -q '"waiting": *[1-9]'; }
until_so 'nobody waits for a disk' waits
truncate -s 16M /small/disk.img
losetup -c "$disk"
wait $writer || fail "who waited for a disk: $(cat dd.out)"
cmp -n $((4 << 20)) some "$device" || fail 'other bytes after a wait for a disk'
ubd-compose events v2 | grep -q store_grew || fail "events: $(ubd-compose events v2)"
ubd-compose delete v2 || fail 'delete'
qemu-img check -q "$disk" || fail "check: $(qemu-img check "$disk" 2>&1)"
qemu-img compare -q -f qcow2 -F raw "$disk" some || fail 'qemu-img reads something else from a disk that grew'
ok 'a write waits until the disk below has become larger'
losetup -d "$disk"

cd /
until_so 'the small store is in use' umount /small
until_so 'the driver is in use' rmmod ubd
no_hung_tasks 'at the end'
