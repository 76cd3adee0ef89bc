# shellcheck shell=sh
# The storms: each a function of how often, on a machine with four processors and two disks of 24M.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

disk=/dev/ubdb0

# tree FAN_OUT [RECOVERY]: four queues over two disks, that are a stripe's, a mirror's, or a thin volume's on a stripe, as ROOT says.
ROOT=stripe last_root=stripe new=''
tree() {
	[ $ROOT = $last_root ] || new=-z # what the record says is another disk's
	last_root=$ROOT
	_disks='{ "type": "block", "path": "/dev/vda" }, { "type": "block", "path": "/dev/vdb" }'
	_stripe="{ \"type\": \"stripe\", \"chunk_size\": \"64KiB\", \"children\": [ $_disks ] }"
	case $ROOT in
	stripe) _root=$_stripe ;;
	mirror) _root="{ \"type\": \"mirror\", \"children\": [ $_disks ] }" ;;
	thin) _root="{ \"type\": \"thin\", \"size\": \"24MiB\", \"data\": $_stripe }" ;;
	esac
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "queues": 4, "queue_depth": 64, "max_io_size": "16KiB",
    ${2:+"\"recovery\": \"$2\", \"recovery_timeout\": 300, "}"fan_out": "$1" }, "root": $_root }
END
}
create() { ubd-compose create "$@" tree.json >created 2>create.err || fail "create: $(cat create.err)"; }

gone() { ! kill -0 "$1" 2>/dev/null; }

# Where the loads keep their record: in the host's memory if there is a device for that, else in a file.
record_path() {
	for _device in /sys/bus/pci/devices/*; do
		if [ "$(cat "$_device/vendor" "$_device/device" | tr '\n' ' ')" = '0x1af4 0x1110 ' ]; then
			echo 1 >"$_device/enable"
			echo "$_device/resource2"
			return
		fi
	done
	echo record
}

# storm WHAT OPTION...: its last words, which are the result.
storm() {
	_what=$1
	shift
	# shellcheck disable=SC2086 # no option, or one
	killstorm $new "$@" "$(record_path)" $disk vol0 tree.json >storm.out 2>storm.err || fail "$_what: $(cat storm.out; tail -n 5 storm.err)"
	new=''
	ok "$_what: $(cat storm.out)"
}

# Killed under full queues; without recovery the disk goes, and the next create finds all that was acknowledged.
kills() {
	tree "${2:-auto}"
	create --force
	storm "without recovery, $ROOT" -n "$1"
	ubd-compose delete vol0
}

# Killed under full queues, and recovered: the load sees a pause. Each tenth is followed by a hand-over in peace.
recoveries() {
	tree "${2:-auto}" reissue
	create --force
	storm "recovered, $ROOT, ${2:-auto}" -r -n "$1"
	ubd-compose delete vol0
}

# The driver's part alone, of both: COUNT, and options for killstorm.
servers() {
	_count=$1
	shift
	_record=$(record_path)
	[ "$_record" != record ] || _record=servers.record # the other is of the disks below
	for _kind in '' -r; do
		# shellcheck disable=SC2086 # an option or none
		killstorm -s $_kind -n "$_count" "$@" "$_record" $disk >storm.out 2>storm.err || fail "servers $_kind: $(cat storm.out; tail -n 5 storm.err)"
		ok "servers${_kind:+, recovered}: $(cat storm.out)"
		rm disk.bytes
	done
}

# In a machine of later: what the record says is on the disks.
verified() {
	tree auto
	create
	ackload -b 512 verify "$(record_path)" $disk >verify.out 2>&1 || fail "$(cat verify.out)"
	ok "in another machine: $(cat verify.out)"
	ubd-compose delete vol0
}

# Created and deleted while others, like udev, open whatever turns up.
openers() {
	_count=$1
	tree auto
	churn -o &
	_openers=$!
	for _cycle in $(seq "$_count"); do
		create --force
		[ $((_cycle % 3)) != 0 ] || kill -9 "$(pid_of)"
		ubd-compose delete vol0 2>delete.err || fail "cycle $_cycle: $(cat delete.err)"
	done
	kill $_openers
	wait $_openers || fail "the openers ended with $?"
	[ ! -e /sys/block/ubdb0 ] || fail 'a disk is left'
	ok "created and deleted $_count times among openers"
}

loads() {
	_count=$1
	tree auto
	for _cycle in $(seq "$_count"); do
		rmmod ubd || fail "cycle $_cycle: rmmod"
		modprobe ubd
		if [ $((_cycle % 10)) = 1 ]; then
			create --force
			[ $((_cycle % 20)) = 1 ] || kill -9 "$(pid_of)"
			ubd-compose delete vol0 2>/dev/null || fail "cycle $_cycle: delete"
		fi
	done
	ok "loaded and unloaded $_count times"
}

# The driver's part alone: devices, then the module too, under others' hands.
churns() {
	churn -n "$1" || fail 'devices'
	rmmod ubd
	churn -n "$1" -m "$(modinfo -n ubd)" || fail 'the module'
	modprobe ubd
	ok "devices and the module, $1 times each"
}

# Processors go and come, schedulers change, queues are frozen, under I/O.
changes() {
	_count=$1
	tree auto
	create --force
	ackload -e run record $disk >load.out 2>&1 &
	_load=$!
	_queue=/sys/block/ubdb0/queue
	for _cycle in $(seq "$_count"); do
		for _scheduler in mq-deadline none kyber bfq none; do
			echo $_scheduler >$_queue/scheduler 2>/dev/null || true
			echo $((_cycle % 3 * 16 + 16)) >$_queue/nr_requests 2>/dev/null || true
			echo $((_cycle % 2 * 2)) >$_queue/nomerges
		done
		for _cpu in 3 2 1; do
			[ ! -e /sys/devices/system/cpu/cpu$_cpu/online ] || echo 0 >/sys/devices/system/cpu/cpu$_cpu/online || true
		done
		for _cpu in 1 2 3; do
			[ ! -e /sys/devices/system/cpu/cpu$_cpu/online ] || echo 1 >/sys/devices/system/cpu/cpu$_cpu/online
		done
		gone $_load && fail "cycle $_cycle: $(cat load.out)"
	done
	kill $_load
	wait $_load || fail "the load ended with $?: $(cat load.out)"
	ackload verify record $disk >verify.out 2>&1 || fail "$(cat verify.out)"
	ubd-compose delete vol0
	ok "$_count rounds of processors, schedulers and frozen queues: $(cat verify.out)"
}
