# shellcheck shell=sh
# vm: -k 6.12 -d 32M -d 32M -m 512 -t 400
# A mirror's faults that no other test injects into a real device: a leg that reads wrong, doesn't flush, is full or has
# shrunk; a daemon that is killed amid a resync; legs that went on alone. The table is in tests/FAULTS.md.
. ./guest.sh

load_driver
modprobe dm-flakey
sectors=$(blockdev --getsz /dev/vda)
# leg DISK linear|error_reads|error_writes: what its device-mapper name does from now on.
leg() {
	_table="0 $sectors flakey /dev/$1 0 0 10000 1 $2"
	[ "$2" != linear ] || _table="0 $sectors linear /dev/$1 0"
	if [ -e "/dev/mapper/$1" ]; then
		dmsetup suspend --nolockfs "$1"
		dmsetup reload "$1" --table "$_table"
		dmsetup resume "$1"
	else
		dmsetup create "$1" --table "$_table"
	fi
}
# document LEG LEG [MEMBER]: with a further member of the mirror.
document() {
	printf '{ "format": 1, "name": "m", "root": { "id": "m0", "type": "mirror", "read_policy": "first",
"region_size": "64KiB", %s "children": [ { "id": "d0", %s }, { "id": "d1", %s } ] } }\n' "${3-}" "$1" "$2" >m.json
}
block() { echo "\"type\": \"block\", \"path\": \"$1\""; }
has() { ubd-compose status --json m | tr -d ' \n' | grep -qF "$1"; }
in_sync() { has '"leg_states":["in_sync","in_sync"]'; }
failed() { ubd-compose status m | grep -q "$1 .*FAILED"; }
put() { dd if="$1" of="$device" bs=64k seek="$2" oflag=direct conv=notrunc 2>/dev/null; }
get() { dd if="$device" bs=64k skip="$1" count="$2" iflag=direct 2>/dev/null; }
killed() {
	kill -9 "$(pid_of m)"
	within 'the device is gone' 60 test ! -e "$device"
}
data=$((5 * 1048576)) # a leaf's label and its mirror's front: where the data begins
dd if=/dev/urandom of=some bs=64k count=16 2>/dev/null

leg vda linear
leg vdb linear
document "$(block /dev/mapper/vda)" "$(block /dev/mapper/vdb)"
device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
put some 0
# Nothing is copied or written behind our back any more: a new mirror's regions are, once they were written.
even() { has '"regions_dirty":0,"regions_to_copy":0'; }
within 'its legs are even' 300 even
dd if=/dev/zero of=/dev/vda bs=64k seek=$((data / 65536)) count=1 oflag=direct 2>/dev/null # it has gone bad below us
leg vda error_reads
get 0 1 >got || fail 'a read that one leg fails, fails'
cmp -s -n 65536 some got || fail 'another leg has something else'
ok 'a leg that cannot read: another one is read'
repaired() { dd if=/dev/vda bs=64k skip=$((data / 65536)) count=1 iflag=direct 2>/dev/null | cmp -s -n 65536 some -; }
within 'and what it gives is written to the first' 60 repaired
has '"read_errors":[0,' && fail "the error is not counted: $(ubd-compose status --json m)"
in_sync || fail 'one error was enough to fail a leg'
leg vda linear

within 'nothing is to be written' 300 even
leg vdb error_writes
dd if=/dev/null of="$device" conv=notrunc,fsync 2>log || fail "a flush that one leg fails, fails: $(cat log)"
failed d1 || fail "a leg that does not flush is believed: $(ubd-compose status m)"
ok 'a leg that cannot flush has failed'
leg vdb linear
put some 16
ubd-compose delete m
device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
within 'after the next start it is brought up to date' 120 in_sync
ubd-compose delete m

# Killed twice amid a resync: nobody takes the leg for up to date, until it is.
document "$(block /dev/mapper/vda)" "$(block /dev/mapper/none)" '"recovery_rate": { "min": "4KiB", "max": "4KiB" },'
device=$(ubd-compose create --degraded m.json 2>log) || fail "create: $(cat log)"
put some 32
ubd-compose delete m
sed -i 's/none/vdb/' m.json
for round in 1 2; do
	device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
	grep -qF 'leg d1 (/dev/mapper/vdb) missed writes and is brought up to date' log || fail "round $round: $(cat log)"
	has '"leg_states":["in_sync","rebuilding"]' || fail "round $round: $(ubd-compose status m)"
	daemon=$(pid_of m)
	kill -STOP "$daemon"
	get 32 16 >got &
	reader=$!
	kill -CONT "$daemon"
	wait $reader && cmp -s some got || fail "round $round: stopped and continued, it reads something else"
	killed
done
ok 'a resync that was killed goes on'
sed -i 's/"recovery_rate": {[^}]*},//' m.json
device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
within 'and ends' 120 in_sync
ubd-compose delete m
part() { dd if="$1" bs=64k skip=$((data / 65536)) count=48 iflag=direct 2>/dev/null | md5sum; }
expect 'then both legs hold the same' "$(part /dev/vda)" "$(part /dev/vdb)"

# Each goes on alone.
for alone in vda vdb; do
	document "$(block /dev/mapper/vda)" "$(block /dev/mapper/vdb)"
	case $alone in vda) sed -i 's/vdb/none/' m.json ;; *) sed -i 's/vda/none/' m.json ;; esac
	device=$(ubd-compose create --degraded m.json 2>log) || fail "create on $alone: $(cat log)"
	echo "$alone" | dd of="$device" bs=4096 conv=sync oflag=direct 2>/dev/null
	ubd-compose delete m
done
document "$(block /dev/mapper/vda)" "$(block /dev/mapper/vdb)"
refuses 'legs that went on alone' ubd-compose create m.json
mkdir saved
device=$(ubd-compose create --prefer=d0 --take-back=saved m.json 2>log) || fail "create --take-back: $(cat log)"
expect 'the one that was preferred is served' vda "$(head -n 1 "$device")"
expect 'what the other held is saved' vdb "$(head -n 1 saved/m.d1.overlay)"
within 'it is brought up to date' 120 in_sync
ubd-compose delete m
expect 'and holds the same again' "$(part /dev/vda)" "$(part /dev/vdb)"

# A leg on a file system that becomes full, and one that has become shorter.
ubd-compose wipe /dev/mapper/vda >/dev/null 2>log || fail "wipe: $(cat log)"
mkdir small
mount -t tmpfs -o size=3M none small
document "$(block /dev/mapper/vda)" '"type": "file", "path": "small/leg", "size": "20MiB", "direct": false'
device=$(ubd-compose create --force m.json 2>log) || fail "create on a small store: $(cat log)"
for at in 0 16 32 48; do put some $at || fail 'a write fails because one leg is full'; done
within 'a leg that is full has failed' 60 failed d1
get 48 16 | cmp -s some - || fail 'what was written is lost'
ubd-compose delete m
truncate -s 8M small/leg
refuses 'a leg that has shrunk' ubd-compose create m.json
device=$(ubd-compose create --degraded m.json 2>log) || fail "create --degraded: $(cat log)"
get 48 16 | cmp -s some - || fail 'what was written is lost'
ubd-compose delete m
ok 'the device goes on without it, if that is asked for'
no_hung_tasks
