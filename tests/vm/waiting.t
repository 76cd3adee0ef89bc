# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k any -d 512M -m 1024 -t 300
# drivers: ubd ublk:7
# Who waits for room goes on waiting when another daemon takes over, and finds it where that has made the store larger: no request fails.
. ./guest.sh

load_driver
make_legs
cd /legs
disk=/dev/$disk0
mib=1048576

# tree NAME TYPE RECOVERY [QUEUES]: a thin over two leaves with labels.
tree() {
	cat >"$1.json" <<END
{ "format": 1, "name": "vol0", "device": { "recovery": "$3", "queues": ${4:-1}, "queue_depth": 16 },
  "root": { "id": "t0", "type": "thin", "size": "64MiB", "when_full": "queue", "no_space_timeout": 0, "data": { "type": "$2", "children": [
    { "id": "d0", "type": "file", "path": "$1.a" }, { "id": "d1", "type": "file", "path": "$1.b" } ] } } }
END
}
waiting() { ubd-compose status vol0 --json | sed -n 's/^ *"waiting": *\([0-9]*\).*/\1/p' | head -n 1; }
wait_so_many() { [ "$(waiting)" -ge "$1" ]; }
is_running() { kill -0 "$1" 2>/dev/null; }
has_waited_on() { # WHAT: neither has it failed, nor does anything else
	wait_so_many 1 && is_running $writer && dd if="$disk" of=seen bs=64k count=16 iflag=direct 2>/dev/null && cmp -n $mib seen some ||
		fail "$1: $(cat dd.out; ubd-compose status vol0)"
	ok "$1"
}
dd if=/dev/urandom of=some bs=1M count=24 2>/dev/null

queues=0
for type in stripe mirror; do
	tree $type $type reissue $((queues += 1))
	truncate -s $((type_room = 8 * mib)) $type.a $type.b
	ubd-compose create $type.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
	dd if=some of="$disk" bs=64k oflag=direct 2>dd.out &
	writer=$!
	within "$type: a write waits for room" 30 wait_so_many 1

	pid=$(pid_of)
	expect 'another daemon takes over' "$disk" "$(ubd-compose recover vol0 2>recover.err)"
	[ "$(pid_of)" != "$pid" ] || fail 'it is the same one'
	! grep 'not stopped cleanly' recover.err || fail 'that was no clean stop'
	within 'the next one has it' 30 wait_so_many 1
	has_waited_on 'who waits waits on'
	ubd-compose resize vol0 >resize.out 2>&1 || fail "resize: $(cat resize.out)"
	within 'the next one has it' 30 wait_so_many 1
	has_waited_on 'while the store is as large as it was'
	expect 'a tree that is refused changes nothing' 1 "$(ubd-compose resize vol0 8T 2>&1 | grep -c 'is served on as it was')"
	within 'the one as before has it' 30 wait_so_many 1
	has_waited_on 'nor for who waits'
	kill -9 "$(pid_of)"
	ubd-compose recover vol0 >recover.out 2>&1 || fail "recover: $(cat recover.out)"
	within 'so it is after a kill' 30 wait_so_many 1

	truncate -s $((type_room * 5)) $type.a $type.b
	expect 'a larger store' "$disk" "$(ubd-compose resize vol0 2>resize.err)"
	! grep 'not stopped cleanly' resize.err || fail 'that was no clean stop'
	wait $writer || fail "who waited: $(cat dd.out)"
	cmp -n $((24 * mib)) some "$disk" || fail 'other bytes after a wait'
	ok 'is room for who waits'
	expect 'nobody waits' 0 "$(waiting)"
	ubd-compose delete vol0
	ubd-compose create $type.json >create.err 2>&1 || fail "create again: $(cat create.err)"
	! grep 'not stopped cleanly' create.err || fail 'that was no clean stop'
	cmp -n $((24 * mib)) some "$disk" || fail 'other bytes after a stop'
	ubd-compose delete vol0
	ok 'all of it is there'
done

# As many wait as the queue is deep, and others behind them; some are zeroing and discards.
tree load stripe reissue
truncate -s $((8 * mib)) load.a load.b
ubd-compose create load.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
fio --name=load --filename="$disk" --ioengine=io_uring --direct=1 --iodepth=64 --rw=randwrite --bsrange=4k-128k --blockalign=4k --size=48m \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 >fio.out 2>&1 &
loader=$!
within 'all of a queue waits' 60 wait_so_many 16
for cycle in 1 2 3; do
	truncate -s $(((8 + cycle * 2) * mib)) load.a load.b
	ubd-compose resize vol0 >resize.out 2>&1 || fail "resize $cycle: $(cat resize.out)"
	within 'and again' 60 wait_so_many 16
done
is_running $loader || fail "fio: $(cat fio.out)"
truncate -s $((60 * mib)) load.a load.b
ubd-compose resize vol0 >resize.out 2>&1 || fail "resize: $(cat resize.out)"
wait $loader || fail "fio: $(cat fio.out)"
ok 'a load has seen pauses only'
! dmesg | grep -E 'I/O error|No space|critical space' || fail 'errors in the log'
ubd-compose delete vol0

# Where what a daemon had in its hands is to fail, so does what it has put off.
tree fail stripe fail
truncate -s $((8 * mib)) fail.a fail.b
ubd-compose create fail.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
dd if=some of="$disk" bs=64k oflag=direct 2>dd.out &
writer=$!
within 'a write waits for room' 30 wait_so_many 1
truncate -s $((40 * mib)) fail.a fail.b
ubd-compose resize vol0 >resize.out 2>&1 || fail "resize: $(cat resize.out)"
wait $writer && fail 'it was to fail'
expect 'and gets ENOSPC where it is not to come again' 1 "$(grep -c 'No space left' dd.out)"
dd if=some of="$disk" bs=64k oflag=direct 2>dd.out || fail "a write into the larger store: $(cat dd.out)"
ubd-compose delete vol0

cd /
umount /legs
no_hung_tasks 'at the end'
unload_driver
