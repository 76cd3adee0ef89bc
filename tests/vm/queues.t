# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k all -c 4 -d 700M -m 1024 -t 600
# drivers: ubd ublk
# Trees that keep something between requests, on four queues: all of them serve, whatever one does another sees, and a daemon
# that dies with all of them full loses nothing.
. ./guest.sh

load_driver
make_legs
cd /legs

# thin DEVICE-KEYS, mirror DEVICE-KEYS
thin() {
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "queues": 4, "queue_depth": 32, "max_io_size": "128KiB" $1 }, "root": { "type": "thin", "size": "256MiB",
    "data": { "type": "file", "path": "volume.qcow2" } } }
END
}
mirror() {
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "queues": 4, "queue_depth": 32, "max_io_size": "128KiB" $1 }, "root": { "type": "mirror", "id": "m0", "children": [
    { "type": "file", "path": "a", "size": "64MiB" }, { "type": "file", "path": "b", "size": "64MiB" } ] } }
END
}
create() { device=$(ubd-compose create "$@" tree.json) || fail "create: $(cat tree.json)"; }

# Each job has 16 MiB of its own; pieces of 4k to 64k, so that first writes of one cluster meet.
load() {
	fio --name=load --filename="$device" --direct=1 --ioengine=io_uring --iodepth=16 --numjobs=4 --size=12M --offset_increment=12M \
		--rw=randrw --bsrange=4k-64k --verify=crc32c --verify_fatal=1 --group_reporting --cpus_allowed=0-3 --cpus_allowed_policy=split \
		"$@" >fio.out 2>&1 || fail "fio: $(cat fio.out)"
}

# Clock ticks that each of the daemon's threads has worked, but for the first, which serves no queue, and io_uring's own.
worked() {
	for _task in /proc/"$1"/task/[0-9]*; do
		case $_task in */"$1") ;; *) grep -v '(iou-' "$_task/stat" 2>/dev/null | sed 's/.*) //' | awk '{ print $12 + $13 }' ;; esac
	done
}
all_have_worked() {
	_count=0
	for _sum in $(worked "$(pid_of)"); do
		[ "$_sum" = 0 ] || _count=$((_count + 1))
	done
	[ $_count -ge 4 ] || fail "$1: $_count of 4 queues have worked: $(worked "$(pid_of)" | tr '\n' ' ')"
	ok "$1: all queues have worked"
}

for fan_out in auto gathered; do
	thin ", \"fan_out\": \"$fan_out\""
	rm -f volume.qcow2
	create
	expect "thin, $fan_out: queues that the kernel sees" 4 "$(ls "/sys/block/${device##*/}/mq" | wc -l)"
	load
	all_have_worked "thin, $fan_out"
	# Discards beside writes, and one cluster's first writes from all queues at once.
	fio --name=trims --filename="$device" --direct=1 --ioengine=libaio --iodepth=4 --rw=randtrim --bs=64k --offset=128M --size=32M \
		--name=writes --filename="$device" --direct=1 --ioengine=io_uring --iodepth=8 --numjobs=4 --rw=randwrite --bs=4k \
		--offset=128M --size=32M --io_size=8M --cpus_allowed=0-3 --cpus_allowed_policy=split >fio.out 2>&1 || fail "trims: $(cat fio.out)"
	ubd-compose delete vol0
	qemu-img check -q volume.qcow2 || fail "thin, $fan_out: $(qemu-img check volume.qcow2)"
	ok "thin, $fan_out: qemu-img finds no fault"
done

for fan_out in auto gathered; do
	mirror ", \"fan_out\": \"$fan_out\""
	rm -f a b
	create
	load
	all_have_worked "mirror, $fan_out"
	ubd-compose delete vol0
	cmp a b $((4 << 20)) $((4 << 20)) || fail "mirror, $fan_out: legs differ"
	ok "mirror, $fan_out: legs are the same"
done

# Snapshots, and a leg that fails, while all queues are busy.
thin ', "fan_out": "auto"'
create
load --rw=randwrite --time_based --runtime=6 --verify=0 --do_verify=0 &
loading=$!
sleep 1
for i in 1 2 3; do
	ubd-compose snapshot create vol0 "s$i" || fail "snapshot $i"
	sleep 1
done
wait $loading || fail "fio: $(cat fio.out)"
load --offset=200M
ubd-compose delete vol0
qemu-img check -q volume.qcow2 || fail "$(qemu-img check volume.qcow2)"
expect 'snapshots made while four queues write' 3 "$(qemu-img snapshot -l volume.qcow2 | grep -c ' s[123] ')"

# Killed with all queues full, and served again by the next one.
if [ "$DRIVER" = ubd ] || ! is_old_ublk; then
	for root in thin mirror; do
		rm -f volume.qcow2 a b
		$root ', "recovery": "reissue", "recovery_timeout": 60'
		create
		load --time_based --runtime=8 &
		loading=$!
		sleep 3
		kill -9 "$(pid_of)"
		ubd-compose recover vol0 >recovered 2>&1 || fail "recover: $(cat recovered)"
		sleep 2
		ubd-compose recover vol0 >recovered 2>&1 || fail "recover from a daemon that lives: $(cat recovered)"
		wait $loading || fail "$root: $(cat fio.out)"
		ok "$root: what four queues had under way when the daemon died was done by the next one, and that handed over"
		ubd-compose delete vol0
		[ $root = mirror ] || qemu-img check -q volume.qcow2 || fail "$(qemu-img check volume.qcow2)"
	done
fi
no_hung_tasks
