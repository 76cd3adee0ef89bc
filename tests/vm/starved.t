# shellcheck shell=sh
# vm: -k 6.12 -m 1024 -t 240
# drivers: ubd ublk
# A daemon that gets no byte of memory, no thread and hardly a file more once its device is live: requests are served as ever, and a leg
# that fails meanwhile is recorded.
. ./guest.sh

load_driver
modprobe brd rd_nr=2 rd_size=49152 max_part=0
mkdir -p /group
mount -t cgroup2 none /group
echo '+memory +pids' >/group/cgroup.subtree_control
mkdir /group/daemon
verified() {
	fio --name=v --filename="$device" --allow_file_create=0 --rw=randrw --bsrange=4k-128k --size=8M --offset_increment=16M --numjobs=2 \
		--iodepth=64 --ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "fio: $(cat fio.out)"
}
limit() {
	echo "$1" >/group/daemon/memory.max
	echo "$2" >/group/daemon/pids.max
}
met() { sed -n 's/^max //p' "/group/daemon/$1.events"; }

for fan_out in gathered passthrough; do
	! is_old_ublk || [ $fan_out = gathered ] || continue
	dmsetup create bad --table '0 98304 linear /dev/ram0 0'
	cat >m.json <<-END
		{ "format": 1, "name": "m", "device": { "driver": "$DRIVER", "fan_out": "$fan_out" },
		  "root": { "id": "m0", "type": "mirror", "region_size": "64KiB", "children": [
		    { "id": "d0", "type": "block", "path": "/dev/mapper/bad" }, { "id": "d1", "type": "block", "path": "/dev/ram1" } ] } }
	END
	# shellcheck disable=SC3045 # busybox has it
	(sh -c 'echo $$ >/group/daemon/cgroup.procs && ulimit -n 40 && exec ubd-compose create --force m.json' >out 2>log) || fail "create: $(cat log)"
	device=$(cat out)
	grep -qx "$(pid_of m)" /group/daemon/cgroup.procs || fail 'the daemon is in another group'
	limit "$(cat /group/daemon/memory.current)" "$(cat /group/daemon/pids.current)"
	verified
	expect "$fan_out: requests take no memory" 0 "$(met memory)"
	dmsetup suspend --nolockfs bad
	dmsetup reload bad --table '0 98304 error'
	dmsetup resume bad
	verified
	limit max max
	failed() { ubd-compose status m | grep -q 'd0 .*FAILED'; }
	within "$fan_out: a leg that fails meanwhile has failed, and no request" 60 failed
	ubd-compose delete m
	dmsetup remove bad
done
no_hung_tasks
