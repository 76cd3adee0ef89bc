# shellcheck shell=sh
# The storms: each a function of how often, on a machine with four processors and two disks of 24M.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

disk=/dev/ubdb0
pid_of() { ubd-compose status --json vol0 | sed -n 's/^  "pid": \([0-9]*\),$/\1/p'; }
now_ms() { awk '{ print int($1 * 1000) }' /proc/uptime; }

# tree FAN_OUT [RECOVERY]: four queues over two disks.
tree() {
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "queues": 4, "queue_depth": 64, "max_io_size": "64KiB",
    ${2:+"\"recovery\": \"$2\", \"recovery_timeout\": 300, "}"fan_out": "$1" },
  "root": { "type": "stripe", "chunk_size": "64KiB", "children": [
    { "type": "block", "path": "/dev/vda" }, { "type": "block", "path": "/dev/vdb" } ] } }
END
}
create() { ubd-compose create "$@" tree.json >created 2>create.err || fail "create: $(cat create.err)"; }

# How long the last one took goes to a file; report KIND prints what is in it.
took() { echo $(($(now_ms) - $2)) >>"times.$1"; }
report() {
	sort -n "times.$1" | awk -v what="$1" '{ t[NR] = $1 }
		END { printf "# %s: median %d ms, 90%% %d ms, most %d ms, of %d\n", what, t[int((NR + 1) / 2)], t[int((NR * 9 + 9) / 10)], t[NR], NR }'
	rm "times.$1"
}

# A moment of 0 to 290 ms, a different one each time.
moment() { sleep 0.$(($1 * 7 % 3))$(($1 * 3 % 10)); }
gone() { ! kill -0 "$1" 2>/dev/null; }

# Killed under full queues; without recovery the disk goes, and the next create finds all that was acknowledged.
kills() {
	_count=$1
	tree "${2:-auto}"
	create --force
	for _cycle in $(seq "$_count"); do
		ackload run record $disk >load.out 2>&1 &
		_load=$!
		moment "$_cycle"
		_pid=$(pid_of)
		_started=$(now_ms)
		kill -9 "$_pid"
		while kill -0 "$_pid" 2>/dev/null; do :; done
		took exit "$_started"
		wait $_load || fail "cycle $_cycle: the load ended with $?: $(cat load.out)"
		took io_ended "$_started"
		while [ -e /sys/block/ubdb0 ]; do :; done
		took disk_gone "$_started"
		create
		ackload verify record $disk >verify.out 2>&1 || fail "cycle $_cycle: $(cat verify.out)"
	done
	ubd-compose delete vol0
	ok "$_count kills without recovery: $(cat verify.out)"
	report exit
	report io_ended
	report disk_gone
}

# Killed under full queues, and recovered: the load sees a pause.
recoveries() {
	_count=$1
	tree "${2:-auto}" reissue
	create --force
	ackload -e run record $disk >load.out 2>&1 &
	_load=$!
	for _cycle in $(seq "$_count"); do
		moment "$_cycle"
		gone $_load && fail "cycle $_cycle: $(cat load.out)"
		_started=$(now_ms)
		if [ $((_cycle % 5)) != 0 ]; then
			kill -9 "$(pid_of)"
		fi
		ubd-compose recover vol0 >/dev/null 2>recover.err || fail "cycle $_cycle: $(cat recover.err)"
		took recovered "$_started"
	done
	kill $_load
	wait $_load || fail "the load ended with $?: $(cat load.out)"
	ackload verify record $disk >verify.out 2>&1 || fail "$(cat verify.out)"
	ubd-compose delete vol0
	ok "$_count recoveries, each fifth by a hand-over: $(cat verify.out)"
	report recovered
}

# Created and deleted while others, like udev, open whatever turns up.
openers() {
	_count=$1
	tree auto
	touch opening
	for _opener in 1 2 3; do
		while [ -e opening ]; do
			for _disk in /dev/ubdb*; do dd if="$_disk" of=/dev/null bs=4k count=4 2>/dev/null || true; done
		done &
	done
	for _cycle in $(seq "$_count"); do
		create --force
		[ $((_cycle % 3)) != 0 ] || kill -9 "$(pid_of)"
		ubd-compose delete vol0 2>delete.err || fail "cycle $_cycle: $(cat delete.err)"
	done
	rm opening
	wait
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
