# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k 6.12 -d 500M -m 768 -t 480
# Snapshots of a live device while fio writes to it: what they hold is what the device held, by qemu-img's word; and the device
# goes back to one, when nobody uses it.
. ./guest.sh

load_driver
make_legs
cd /legs

cat >tree.json <<'END'
{ "format": 1, "name": "v0", "root": { "type": "thin", "size": "32MiB",
    "data": { "type": "file", "path": "volume.qcow2" } } }
END
quiet=12 # MiB, to which nobody writes while fio does to the others
device=$(ubd-compose create tree.json) || fail 'create'
dd if=/dev/urandom of="$device" bs=1M count=$quiet oflag=direct 2>/dev/null || fail 'write'
dd if="$device" of=first bs=1M count=$quiet iflag=direct 2>/dev/null

fio --name=load --filename="$device" --offset=${quiet}M --rw=randrw --bs=4k --iodepth=16 --ioengine=io_uring --direct=1 \
	--time_based --runtime=3600 >fio.out 2>&1 &
load=$!
is_loaded() { [ "$(awk '{ print $5 }' "/sys/block/${device##*/}/stat")" -gt $((written + 100)) ]; }
until_so() { # WHAT COMMAND...: it succeeds, in the end
	what=$1 tries=0
	shift
	until "$@" >until.out 2>&1; do
		[ $((tries += 1)) -lt 600 ] || fail "$what: $(cat until.out fio.out)"
		sleep 0.2
	done
}
ubd-compose snapshot create v0 gone >/dev/null || fail 'snapshot create gone'
for name in one two; do
	written=$(awk '{ print $5 }' "/sys/block/${device##*/}/stat")
	until_so 'fio does not write' is_loaded
	ubd-compose snapshot create v0 $name >pause.$name || fail "snapshot create $name"
	grep -q '^requests waited for [0-9.]* ms' pause.$name || fail "snapshot says: $(cat pause.$name)"
	echo "# under load: $(cat pause.$name)"
	kill -0 $load || fail "fio has ended: $(cat fio.out)"
	dd if=/dev/urandom of="$device" bs=64k seek=16 count=16 conv=notrunc oflag=direct 2>/dev/null || fail 'overwrite'
	[ $name = two ] || dd if="$device" of=second bs=1M count=$quiet iflag=direct 2>/dev/null
done
ubd-compose snapshot delete v0 gone >pause.gone || fail 'snapshot delete'
echo "# deleting: $(cat pause.gone)"
kill -0 $load || fail "fio has ended: $(cat fio.out)"
kill $load
wait $load || true # it was told to
ok 'snapshots are made and deleted while fio writes'

dd if="$device" of=held bs=1M iflag=direct 2>/dev/null
ubd-compose snapshot create v0 'three, quiet' >/dev/null || fail 'snapshot create'
ubd-compose snapshot list v0 >listed || fail 'snapshot list'
dd if=/dev/urandom of="$device" bs=1M count=16 seek=4 conv=notrunc oflag=direct 2>/dev/null || fail 'overwrite'
fio --name=v --filename="$device" --offset=20M --rw=randwrite --bsrange=4k-64k --size=4M --iodepth=16 --ioengine=io_uring --direct=1 \
	--verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "fio: $(cat fio.out)"
dd if="$device" of=last bs=1M iflag=direct 2>/dev/null
ubd-compose delete v0 || fail 'delete'
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
qemu-img compare -q -f qcow2 -F raw volume.qcow2 last || fail 'qemu-img reads something else than the device'
qemu-img snapshot -l volume.qcow2 >theirs
if grep -q gone theirs listed; then fail "a deleted one: $(cat theirs listed)"; fi
for name in one two 'three, quiet'; do
	grep -q " $name " theirs || fail "qemu-img knows: $(cat theirs)"
	grep -q " $name\$" listed || fail "list: $(cat listed)"
done
ok 'qemu-img knows them, and finds no fault'

holds() { # SNAPSHOT FILE MEBIBYTES
	qemu-img convert -f qcow2 -l "$1" -O raw volume.qcow2 past || fail "convert -l $1"
	cmp -n $(($3 << 20)) past "$2" || fail "snapshot $1 holds something else than the device did"
}
holds one first $quiet
holds two second $quiet
holds 'three, quiet' held 32
device=$(ubd-compose create tree.json) || fail 'create again'
cmp "$device" last || fail 'the device has changed'
ok 'what they hold is what the device held'

exec 3<"$device"
if ubd-compose snapshot revert v0 one >out 2>err; then fail 'it goes back under who reads it'; fi
grep -q 'is in use and stays as it is' err || fail "revert says: $(cat err)"
exec 3<&-
ubd-compose snapshot revert v0 one >pause.back || fail 'snapshot revert'
echo "# going back: $(cat pause.back)"
cmp -n $((quiet << 20)) "$device" first || fail 'the device has not gone back'
dd if=/dev/urandom of="$device" bs=64k seek=16 count=16 conv=notrunc 2>/dev/null
sync
mkdir -p /mnt
ubd-compose snapshot revert v0 'three, quiet' >/dev/null || fail 'snapshot revert'
cmp "$device" held || fail 'the device has not gone back to another one'
mkfs.ext4 -q "$device"
mount "$device" /mnt
if ubd-compose snapshot revert v0 one >out 2>err; then fail 'it goes back under a mounted file system'; fi
grep -q 'mounted at /mnt' err || fail "revert says: $(cat err)"
umount /mnt
ubd-compose delete v0 || fail 'delete again'
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
holds one first $quiet
ok 'the device goes back to one, unless it is used'
cd /
i=0
until umount /legs && rmmod ubd; do
	[ $((i += 1)) -lt 100 ] || fail 'in use'
	sleep 0.2
done
no_hung_tasks 'at the end'
