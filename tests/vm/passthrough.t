# shellcheck shell=sh
# vm: -k all -d 96M -d 96M -m 1280 -t 400
# drivers: ubd ublk
# Fan-out in the driver: what is read is what was written, failures come back to the engine, and nothing hangs.
. ./guest.sh

# tree TYPE LABEL LEG...
tree() {
	_type=$1 _label=$2 _legs='' _place=0
	shift 2
	for _leg; do
		_legs="$_legs${_legs:+,}{ \"id\": \"d$_place\", \"type\": \"block\", \"path\": \"$_leg\", \"label\": $_label }"
		_place=$((_place + 1))
	done
	echo "{ \"format\": 1, \"name\": \"vol0\", \"device\": { \"fan_out\": \"passthrough\" },
\"root\": { \"id\": \"r\", \"type\": \"$_type\", \"children\": [ $_legs ] } }" >tree.json
}

verify() {
	fio --name=v --filename="$device" --rw=randrw --bsrange=4k-256k --size=48M --io_size=24M --iodepth=16 \
		--ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "$1: $(cat fio.out)"
	ok "$1"
}

has_passed() { [ "$(counter passed)" -ge "$1" ]; }

load_driver
modprobe brd rd_nr=3 rd_size=65536 max_part=0

# A ublk that can't is refused by name, before a leaf is touched.
if is_old_ublk; then
	tree stripe true /dev/ram0 /dev/ram1 /dev/ram2
	refuses 'a driver without it' ubd-compose create tree.json 2>err
	grep -q '^ubd-compose: fan_out "passthrough" needs Linux 6.16 or later with driver "ublk": .* (tree.json:[0-9]*, /device/fan_out)$' err ||
		fail "it says: $(cat err)"
	expect 'in one sentence' 1 "$(wc -l <err)"
	expect 'nothing is left' "$control_node" "$(driver_nodes)"
	expect 'the leaf is blank' '' "$(head -c 8192 /dev/ram0 | tr -d '\0')"
	exit 0
fi

tree stripe false /dev/ram0 /dev/ram1 /dev/ram2
device=$(ubd-compose create tree.json)
verify 'a stripe over legs that complete inline'
[ "$(counter passed)" -gt 100 ] || fail "only $(counter passed) requests were passed"
expect 'none failed' 0 "$(counter restarted)"
mkfs.ext4 -q "$device" && mkdir -p /mnt/v && mount "$device" /mnt/v
mkdir /mnt/v/bin && cp -a /bin/. /mnt/v/bin && sync && umount /mnt/v && mount "$device" /mnt/v
diff -r /bin/ /mnt/v/bin || fail 'files differ'
umount /mnt/v
ok 'a file system, with flushes, merged requests and page cache'
ubd-compose delete vol0

tree stripe true /dev/vda /dev/vdb
device=$(ubd-compose create --force tree.json 2>/dev/null)
verify 'a stripe over legs that complete in interrupts'
[ "$(counter passed)" -gt 100 ] || fail "only $(counter passed) requests were passed"
if [ "$DRIVER" = ubd ]; then
	gathered=$(counter gathered)
	passed=$(counter passed)
	dd if=/dev/urandom of="$device" bs=1M count=4 oflag=direct conv=fsync 2>/dev/null
	blkdiscard -f "$device" -o 1048576 -l 1048576
	blkdiscard -f -z "$device" -o 2097152 -l 1048576
	dd if=/dev/zero bs=1M count=2 2>/dev/null >zeroes
	dd if="$device" bs=1M skip=1 count=2 iflag=direct 2>/dev/null | cmp - zeroes || fail 'what was discarded or zeroed is there still'
	expect 'flushes, discards and zeroing are passed too' "$gathered" "$(counter gathered)"
	[ "$(counter passed)" -ge $((passed + 7)) ] || fail "only $(($(counter passed) - passed)) of them were passed"
	expect 'none failed' 0 "$(counter restarted)"
fi
ubd-compose delete vol0

sectors=$(cat /sys/block/vda/size)
dmsetup create bad --table "0 $sectors linear /dev/vda 0"
tree mirror true /dev/mapper/bad /dev/vdb
device=$(ubd-compose create --force tree.json 2>/dev/null)
verify 'a mirror'
dd if=/dev/urandom of=random bs=1M count=16 2>/dev/null
dd if=random of="$device" bs=64k count=128 oflag=direct 2>/dev/null
if [ "$DRIVER" = ubd ]; then
	gathered=$(counter gathered)
	dd if="$device" of=/dev/null bs=64k count=32 iflag=direct 2>/dev/null
	expect "a mirror's reads are passed too" "$gathered" "$(counter gathered)"
fi
dmsetup suspend --nolockfs bad
dmsetup reload bad --table "0 $sectors error"
dmsetup resume bad
dd if=random of="$device" bs=64k oflag=direct 2>dd.out || fail "a write saw the leg's failure: $(cat dd.out)"
[ "$(counter restarted)" -gt 0 ] || fail 'no request came back from the driver'
dd if="$device" of=back bs=64k count=256 iflag=direct 2>/dev/null
cmp random back || fail 'what was written is not what is read'
ok 'a leg that fails is dropped, and the write that it missed is acknowledged and read back'
ubd-compose status vol0 | grep -q FAILED || fail "no leg is shown as failed: $(ubd-compose status vol0)"
verify 'the mirror with one leg'
ubd-compose delete vol0
dmsetup remove bad

# Legs that answer late: the daemon dies while the driver has plans under way. A load that found the disk gone must not
# make a file of its name.
dmsetup create late --table "0 $sectors delay /dev/vda 0 200"
tree stripe true /dev/mapper/late /dev/vdb
device=$(ubd-compose create --force tree.json 2>/dev/null)
fio --name=k --filename="$device" --allow_file_create=0 --rw=randrw --bs=64k --size=48M --iodepth=32 --ioengine=io_uring \
	--direct=1 --time_based --runtime=300 >/dev/null 2>&1 &
load=$!
within 'the load runs' 30 has_passed $(($(counter passed) + 64))
kill -9 "$(ubd-compose status vol0 --json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' | head -n 1)"
wait "$load" || true
within 'the disk goes' 10 test ! -e "$device"
ubd-compose delete vol0 2>/dev/null || true
ok 'the daemon is killed with plans under way: I/O ends, the disk goes'
within 'the driver lets go of the legs' 10 dmsetup remove late
no_hung_tasks 'after the kill'
within 'the module unloads' 10 unload_driver
