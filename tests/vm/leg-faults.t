# shellcheck shell=sh
# vm: -k 6.12 -m 512 -t 400
# A mirror's legs fail amid a resync: the one that is copied to, then the one that is copied from; one leg fails reads again and
# again, and one has wrong bits in its label. And how long it takes to record a failure, which is printed: the legs are memory.
. ./guest.sh

load_driver
modprobe dm-flakey
modprobe brd rd_nr=4 rd_size=24576 max_part=0
data=$((5 * 1048576)) # a leaf's label and its mirror's front: where the data begins
has() { ubd-compose status --json m | tr -d ' \n' | grep -qF "$1"; }
states() { has "\"leg_states\":[$1]"; }
failed() { ubd-compose status m | grep -q "$1 .*FAILED"; }

# A leg that ends in errors, each somewhere else; what goes there fails at once, with no switch of tables in the way.
# bad N: where that is, in blocks of 4 KiB of the device. The rest of its region can be written.
bad() { echo $(($1 * 256)); }
for n in 0 1 2 3; do
	from=$((data / 512 + $(bad $n) * 8))
	dmsetup create "bad$n" <<EOT
0 $from linear /dev/ram$n 0
$from 8 error
$((from + 8)) $((49152 - from - 8)) linear /dev/ram$n $((from + 8))
EOT
done
dmsetup remove bad3
cat >m.json <<'EOT'
{ "format": 1, "name": "m", "root": { "id": "m0", "type": "mirror", "region_size": "64KiB", "children": [
  { "id": "d0", "type": "block", "path": "/dev/mapper/bad0" }, { "id": "d1", "type": "block", "path": "/dev/mapper/bad1" },
  { "id": "d2", "type": "block", "path": "/dev/mapper/bad2" }, { "id": "d3", "type": "block", "path": "/dev/ram3" } ] } }
EOT
device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
# timed BLOCK: writes it, and prints how many microseconds that took.
timed() {
	fio --name=one --filename="$device" --allow_file_create=0 --rw=write --bs=4k --size=4k --offset=$(($1 * 4096)) \
		--ioengine=psync --direct=1 --write_lat_log=timed >fio.out 2>&1 || fail "a write at $1: $(cat fio.out)"
	echo $(($(sed -n '1s/^[0-9]*, *\([0-9]*\),.*/\1/p' timed_lat.1.log) / 1000))
}
load() { while :; do dd if=/dev/zero of="$device" bs=4096 count=256 seek=3072 oflag=direct conv=notrunc 2>/dev/null; done; }
load &
loader=$!
best=1000000000 all=
for n in 0 1 2; do
	timed $(($(bad $n) + 1)) >/dev/null # its region is dirty from now on, so that no write waits for that
	fine=$(timed $(($(bad $n) + 1)))
	missed=$(timed "$(bad $n)")
	failed "d$n" || fail "a leg that failed a write has not failed: $(ubd-compose status m)"
	all="$all $missed (a write without: $fine)"
	[ "$missed" -ge "$best" ] || best=$missed
done
kill $loader
wait $loader 2>/dev/null || true
echo "figure: microseconds until a write is acknowledged that a leg has failed, which is then on record:$all; the best: $best"
[ "$best" -lt 2000000 ] || fail "a failure takes $best microseconds to record"
ok 'a failure is on record soon'
ubd-compose delete m
for n in 0 1 2; do dmsetup remove "bad$n"; done

# leg N linear|error_reads|error_writes: what its device-mapper name does from now on.
leg() {
	_table="0 49152 flakey /dev/ram$1 0 0 10000 1 $2"
	[ "$2" != linear ] || _table="0 49152 linear /dev/ram$1 0"
	if [ -e "/dev/mapper/leg$1" ]; then
		dmsetup suspend --nolockfs "leg$1"
		dmsetup reload "leg$1" --table "$_table"
		dmsetup resume "leg$1"
	else
		dmsetup create "leg$1" --table "$_table"
	fi
}
# document RATE [LEG]: that leg is not there.
document() {
	cat >m.json <<EOT
{ "format": 1, "name": "m", "root": { "id": "m0", "type": "mirror", "read_policy": "first", "region_size": "64KiB",
  "recovery_rate": { "min": "4KiB", "max": "$1" }, "children": [ { "id": "d0", "type": "block", "path": "/dev/mapper/leg0" },
  { "id": "d1", "type": "block", "path": "/dev/mapper/leg1" }, { "id": "d2", "type": "block", "path": "/dev/mapper/leg2" } ] } }
EOT
	[ -z "${2-}" ] || sed -i "s,mapper/leg$2,none," m.json
}
start() { device=$(ubd-compose create "$@" m.json 2>log) || fail "create: $(cat log)"; }
put() { dd if="$1" of="$device" bs=1M count=3 oflag=direct conv=notrunc 2>/dev/null; }
get() { dd if="$device" bs=1M count=3 iflag=direct 2>/dev/null; }
on_leg() { dd if="/dev/ram$1" bs=1M skip=5 count=3 iflag=direct 2>/dev/null; }
for name in one two three; do dd if=/dev/urandom of=$name bs=1M count=3 2>/dev/null; done
for n in 0 1 2; do
	dd if=/dev/zero of=/dev/ram$n bs=1M count=24 oflag=direct 2>/dev/null
	leg $n linear
done

document 1GiB
start
put one || fail 'a write fails'
leg 0 error_reads
for again in 1 2 3 4 5; do
	get | cmp -s one - || fail "read $again: another leg has something else, or is not asked"
done
put two || fail 'a write fails, of which only reads fail on one leg'
states '"in_sync","in_sync","in_sync"' || fail "read errors have failed a leg: $(ubd-compose status m)"
has '"read_errors":[0,' && fail "no error is counted: $(ubd-compose status --json m)"
on_leg 0 | cmp -s two - || fail 'it is not written any more'
ok 'a leg that fails reads again and again is written still'
leg 0 linear
ubd-compose delete m

# d1 misses something.
document 32KiB 1
start --degraded
put three
ubd-compose delete m
document 32KiB
start
states '"in_sync","rebuilding","in_sync"' || fail "nothing is brought up to date: $(ubd-compose status m)"
leg 1 error_writes
within 'a leg that fails amid its own resync has failed' 120 failed d1
get | cmp -s three - || fail 'another leg was harmed'
leg 1 linear
ubd-compose delete m
start
states '"in_sync","rebuilding","in_sync"' || fail "it passes for up to date: $(ubd-compose status m)"
get | cmp -s three - || fail 'what it has missed was read from it'
ok 'and is known as stale after that'

to_copy() { ubd-compose status --json m | sed -n 's/.*"regions_to_copy": *\([0-9]*\).*/\1/p'; }
leg 0 error_writes
dd if=/dev/zero of="$device" bs=64k count=1 seek=96 oflag=direct conv=notrunc 2>/dev/null || fail 'a write that one leg fails, fails'
states '"failed","rebuilding","in_sync"' || fail "the source did not fail: $(ubd-compose status m)"
before=$(to_copy)
goes_on() { test "$(to_copy)" -lt "$before"; }
within 'without its source the resync goes on from another leg' 120 goes_on
get | cmp -s three - || fail 'what is read is neither old nor new'
ubd-compose delete m
leg 0 linear
document 1GiB 0
start --degraded
within 'and ends' 300 states '"failed","in_sync","in_sync"'
ubd-compose delete m
on_leg 1 | cmp -s three - || fail 'what was copied is something else'
on_leg 2 | cmp -s three - || fail 'the source of the end is something else'
ok 'both hold what was written'

# flip OFFSET: one bit of the last leg.
flip() {
	dd if=/dev/ram2 of=block bs=4096 count=1 skip=$(($1 / 4096)) iflag=direct 2>/dev/null
	_byte=$(od -An -tu1 -j $(($1 % 4096)) -N 1 block)
	# shellcheck disable=SC2059 # the format is the byte
	printf "$(printf '\\%03o' $((_byte ^ 1)))" | dd of=block bs=1 seek=$(($1 % 4096)) conv=notrunc 2>/dev/null
	dd if=block of=/dev/ram2 bs=4096 count=1 seek=$(($1 / 4096)) oflag=direct 2>/dev/null
}
whole() { ubd-compose examine /dev/mapper/leg2 | grep -c 'copy .*whole'; }
expect 'both copies of a label are whole' 2 "$(whole)"
flip 120 # flags, in the first copy
expect 'a wrong bit is seen' 1 "$(whole || true)"
start --degraded
get | cmp -s three - || fail 'with a wrong bit in a label it reads something else'
ubd-compose delete m
expect 'a wrong bit in a label is mended from the other copy' 2 "$(whole)"
flip 120
flip $((2 * 1048576 + 120)) # the same in the second
refuses 'a leg without a whole copy of its label' ubd-compose create --degraded --prefer=d2 m.json
start --degraded
states '"failed","in_sync","failed"' || fail "it is used: $(ubd-compose status m)"
get | cmp -s three - || fail 'without that leg it reads something else'
ubd-compose delete m
ok 'it is left out where that is allowed'
no_hung_tasks
