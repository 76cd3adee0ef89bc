# shellcheck shell=sh
# vm: -k all -m 1536 -t 400
# drivers: ublk:7
# A ublk queue without a command for each tag: lists longer than the driver makes at once, queues at their full depth, and ends
# with all of it under way.
. ./guest.sh

# tree NAME TYPE QUEUES DEPTH LEG LEG
tree() {
	echo "{ \"format\": 1, \"name\": \"$1\", \"device\": { \"queues\": $3, \"queue_depth\": $4, \"max_io_size\": \"128KiB\" },
\"root\": { \"type\": \"$2\", \"children\": [ { \"type\": \"block\", \"path\": \"$5\" }, { \"type\": \"block\", \"path\": \"$6\" } ] } }" >"$1.json"
}

# load NAME FIO-OPTION...: four jobs of depth 200 on one disk.
load() {
	_name=$1
	shift
	fio --name=load --filename="$_name" --ioengine=io_uring --iodepth=200 --numjobs=4 --direct=1 --bs=4k --size=10M --offset_increment=10M "$@"
}

verified() {
	load "$1" --rw=randwrite --bsrange=4k-256k --verify=crc32c --verify_fatal=1 --loops=2 >fio.out 2>&1 || fail "$2: $(cat fio.out)"
	ok "$2"
}

load_driver
modprobe brd rd_nr=4 rd_size=65536 max_part=0

tree passed stripe 4 512 /dev/ram0 /dev/ram1
device=$(ubd-compose create passed.json 2>/dev/null)
verified "$device" 'four queues of 512, passed'
[ "$(counter passed passed)" -gt 0 ] || fail 'nothing was passed'
load "$device" --rw=randwrite --time_based --runtime=120 >fio.out 2>&1 &
load=$!
within 'the load runs' 30 sh -c "[ \$(awk '{ print \$9 }' /sys/block/${device#/dev/}/stat) -ge 200 ]"
kill -9 "$(pid_of passed)"
if wait "$load"; then fail "fio did not notice"; fi
ok "its users are told when the daemon is killed"
within 'and the disk goes' 30 test ! -e "/sys/block/${device#/dev/}"

tree copied mirror 1 4096 /dev/ram2 /dev/ram3
device=$(ubd-compose create copied.json 2>/dev/null)
verified "$device" 'one queue of 4096, copied'
load "$device" --rw=randrw --time_based --runtime=5 >fio.out 2>&1 || fail "$(cat fio.out)"
ubd-compose delete copied
cmp -s -n 52428800 /dev/ram2 /dev/ram3 4194304 4194304 || fail 'the legs differ'
ok 'the legs are the same'

tree linked stripe 1 128 /dev/ram0 /dev/ram1
sed -i 's/"queues"/"fan_out": "linked", "queues"/' linked.json
device=$(ubd-compose create --force linked.json 2>/dev/null)
verified "$device" 'linked has its command for each tag'
[ "$(counter linked linked)" -gt 0 ] || fail 'nothing was linked'
ubd-compose delete linked
