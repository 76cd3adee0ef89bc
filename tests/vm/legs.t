# shellcheck shell=sh
# vm: -k all -d 320M -m 1280 -t 240
# What the driver runs on files and on legs that make it wait: the bytes are right, and nobody waits for another's leg.
. ./guest.sh

# tree FAN_OUT LEAF...: a stripe of 64 KiB chunks
tree() {
	_fan_out=$1 _legs=''
	shift
	for _leg; do _legs="$_legs${_legs:+,}{ $_leg }"; done
	echo "{ \"format\": 1, \"name\": \"vol0\", \"device\": { \"fan_out\": \"$_fan_out\" },
\"root\": { \"id\": \"r\", \"type\": \"stripe\", \"children\": [ $_legs ] } }" >tree.json
}

verify() {
	fio --name=v --filename="$device" --rw=randrw --bsrange=4k-256k --size=40M --io_size=20M --iodepth=16 \
		--ioengine=io_uring --direct=1 --fsync=32 --verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "$1: $(cat fio.out)"
	ok "$1"
}

modprobe ubd
mkdir /mnt/legs

for type in ext4 xfs; do
	wipefs -qa /dev/vda 2>/dev/null || true
	case $type in ext4) mkfs.ext4 -qF /dev/vda ;; xfs) mkfs.xfs -qf /dev/vda ;; esac
	mount "/dev/vda" /mnt/legs
	tree auto '"type": "file", "path": "/mnt/legs/a", "size": "24MiB"' '"type": "file", "path": "/mnt/legs/b", "size": "24MiB"'
	device=$(ubd-compose create tree.json)
	verify "a stripe over files on $type, by itself"
	[ "$(counter passed)" -gt 100 ] || fail "$type: only $(counter passed) requests were passed"
	expect "$type: none failed" 0 "$(counter restarted)"

	# New blocks are written to while the file system lets nobody write: only those wait.
	blkdiscard "$device" 2>/dev/null || true
	fsfreeze --freeze /mnt/legs
	dd if=/dev/zero of="$device" bs=64k count=1 seek=300 oflag=direct 2>/dev/null &
	late=$!
	sleep 0.5
	timeout 10 dd if="$device" of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null || fail "$type: a read waits for a frozen write"
	kill -0 $late 2>/dev/null || fail "$type: the frozen file system was written to"
	fsfreeze --unfreeze /mnt/legs
	wait $late || fail "$type: the write failed"
	ok "$type: a frozen file system keeps back writes, and nobody else"

	truncate -s 20M /mnt/legs/b
	refuses "$type: what lies beyond a truncated file's end is not read as anything" \
		dd if="$device" of=/dev/null bs=1M skip=40 count=4 iflag=direct 2>/dev/null
	ubd-compose delete vol0
	within "$type: the driver lets go of the files" 10 umount /mnt/legs
done

# A leg of which nobody may ask for O_DIRECT.
mount -t tmpfs none /mnt/legs
tree passthrough '"type": "file", "path": "/mnt/legs/a", "size": "24MiB", "direct": false'
refuses 'no passthrough without direct I/O' ubd-compose create tree.json 2>err
grep -q '"direct": false' err || fail "the reason is not told: $(cat err)"
tree auto '"type": "file", "path": "/mnt/legs/a", "size": "24MiB", "direct": false' '"type": "file", "path": "/mnt/legs/b", "size": "24MiB", "direct": false'
device=$(ubd-compose create tree.json)
verify 'files without direct I/O'
expect 'nothing was passed' 0 "$(counter passed)"
ubd-compose delete vol0
umount /mnt/legs

# One leg does one request at a time, each in half a second; the other is memory.
modprobe null_blk nr_devices=1 irqmode=2 completion_nsec=500000000 hw_queue_depth=1 submit_queues=1 gb=1
modprobe brd rd_nr=1 rd_size=1048576 max_part=0
[ "$(cat /sys/block/nullb0/queue/nr_requests)" -le 4 ] || echo 1 >/sys/block/nullb0/queue/nr_requests 2>/dev/null || true
tree auto '"type": "block", "path": "/dev/nullb0", "label": false' '"type": "block", "path": "/dev/ram0", "label": false'
device=$(ubd-compose create tree.json)
fio --name=slow --filename="$device" --rw=write --bs=64k --zonemode=none --offset=0 --size=64M --number_ios=24 --offset_increment=0 \
	--rw=write:64k --iodepth=24 --ioengine=io_uring --direct=1 >/dev/null 2>&1 &
slow=$!
sleep 1
begin=$(date +%s)
dd if="$device" of=/dev/null bs=64k skip=33 count=1 iflag=direct 2>/dev/null
took=$(($(date +%s) - begin))
kill -0 $slow 2>/dev/null || fail 'the slow leg is not slow'
[ $took -le $((2 * patience)) ] || fail "a read of the fast leg took $took s: it waited for the slow one's queue"
ok 'a leg whose queue is full keeps nobody else back'
wait $slow || fail 'a write to the slow leg failed'
ubd-compose delete vol0
no_hung_tasks
within 'the module unloads' 10 rmmod ubd
