# shellcheck shell=sh
# What tests inside the guest share. A test begins with
#	# vm: -k all -d 64M -t 60		(options of tests/vm/run; -k all: on each kernel)
#	. ./guest.sh
# and passes if it ends with status 0. It runs under `set -eu`, as root, in a machine of its own: no clean-up is needed.
set -eu

# How much longer things may take here: on a kernel that watches itself, several times.
patience=1
[ ! -e /sys/kernel/debug/kmemleak ] || patience=6

# The driver under test, and what it calls things: ubdb0, /dev/ubd-control.
DRIVER=${DRIVER:-ubd}
disk0=${DRIVER}b0 control_node=/dev/$DRIVER-control
load_driver() { case $DRIVER in ublk) modprobe ublk_drv ;; *) modprobe "$DRIVER" ;; esac; }
unload_driver() { case $DRIVER in ublk) rmmod ublk_drv ;; *) rmmod "$DRIVER" ;; esac; }
# Whether it is a ublk of before 6.16: it copies, and takes no disk from a daemon that lives.
is_old_ublk() { case $DRIVER:$(uname -r) in ublk:6.?.* | ublk:6.1[0-5].*) true ;; *) false ;; esac; }
# What there is of the driver in /dev, on one line.
driver_nodes() { echo "/dev/$DRIVER"*; }

# /legs: a file system on the test's disk (-d), for files that are leaves.
make_legs() {
	mkfs.ext4 -q /dev/vda
	mkdir /legs
	mount /dev/vda /legs
}

# Says what has been seen to be right.
ok() { echo "ok - $*"; }

# Says why the test fails, with what each daemon says of itself and the kernel's last words, and ends it.
fail() {
	echo "FAILED: $*"
	for _socket in /run/ubd-compose/*.sock; do
		[ ! -S "$_socket" ] || timeout 10 ubd-compose status "$(basename "$_socket" .sock)" 2>&1 | sed 's/^/# /'
	done
	dmesg | sed -n '/tests\/vm\/run: command starts/,$p' | tail -n 20 | sed 's/^/| /'
	exit 1
}

# expect WHAT WANTED GOT: two texts are the same.
expect() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: wanted '$2', got '$3'"; fi; }

# expect_status WHAT STATUS COMMAND...: the command ends with this status.
expect_status() {
	_what=$1 _wanted=$2 _got=0
	shift 2
	"$@" || _got=$?
	expect "$_what" "$_wanted" "$_got"
}

# refuses WHAT COMMAND...: the command fails, in an orderly way.
refuses() {
	_what=$1 _got=0
	shift
	"$@" || _got=$?
	[ "$_got" != 0 ] || fail "$_what: succeeded, and must not"
	[ "$_got" -lt 126 ] || fail "$_what: ended with $_got"
	ok "$_what"
}

# Since the machine was started.
seconds() { cut -d. -f1 /proc/uptime; }

# within WHAT SECONDS COMMAND...: the command comes to succeed in time; for what happens in the background. A command that takes
# its time is asked less often: a machine that is slow has eight times as long, and no more, so that it can still say why.
within() {
	_what=$1 _left=$(($2 * 20 * patience)) _end=$(($(seconds) + $2 * 8 * patience))
	shift 2
	until "$@"; do
		if [ $((_left -= 1)) -le 0 ] || [ "$(seconds)" -gt $_end ]; then
			fail "$_what: not in time"
		fi
		sleep 0.05
	done
	ok "$_what"
}

# pid_of [NAME]: the process that serves the device of that name (vol0).
pid_of() { ubd-compose status --json "${1:-vol0}" | sed -n 's/^  "pid": \([0-9]*\),$/\1/p'; }

# counter COUNTER [NAME]: one of its counters.
counter() { ubd-compose status --json "${2:-vol0}" | sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" | head -n 1; }

# Threads that wait where no signal reaches them, one a line: number and name.
uninterruptible() {
	for _stat in /proc/[0-9]*/task/[0-9]*/stat; do
		sed -n 's/^\([0-9]*\) (\(.*\)) D .*/\1 \2/p' "$_stat" 2>/dev/null || true
	done
}

# no_hung_tasks [WHAT]: no thread hangs; one that only waits for its I/O has two seconds for it.
no_hung_tasks() {
	_hung=$(uninterruptible)
	if [ -n "$_hung" ]; then
		sleep 2
		_hung=$(uninterruptible | grep -Fx "$_hung" || true)
	fi
	[ -z "$_hung" ] || fail "${1:-nothing hangs}: hanging: $_hung"
	ok "${1:-nothing hangs}"
}
