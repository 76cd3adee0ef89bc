# shellcheck shell=sh
# vm: -k any -d 32M -d 32M -t 300
# A slow leg is written behind: who writes waits for the others alone, and what it misses is copied to it later.
. ./guest.sh

modprobe -a ubd dm-delay
sectors=$(blockdev --getsz /dev/vda)
echo "0 $sectors linear /dev/vda 0" | dmsetup create leg
cat >m.json <<'EOF'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "slow_after_ms": 1000, "write_behind": "4MiB", "children": [
    { "id": "d0", "type": "block", "path": "/dev/mapper/leg" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
EOF
status() { ubd-compose status --json m | tr -d ' \n'; }
is() { status | grep -q "\"leg_states\":\[\"$1\",\"in_sync\"\]"; }
put() { echo "$2" | dd of="$device" bs=4096 seek="$1" conv=sync oflag=direct 2>/dev/null; }
get() { dd if="$1" bs=4096 count=1 skip="$2" iflag=direct 2>/dev/null | head -n 1; }
to() { # TABLE: the leg is that from now on
	dmsetup suspend --nolockfs leg
	echo "$1" | dmsetup load leg
	dmsetup resume leg
}

device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
put 0 one
# A primary that may differ from the others stays that, slow or not.
even() { status | grep -q '"regions_dirty":0,"regions_to_copy":0'; }
within 'its legs are even' 30 even
to "0 $sectors delay /dev/vda 0 3000"
# Labels are written to the slow leg too before it misses anything.
behind() { put 0 two && is behind && status | grep -q '"behind":{"bytes":[1-9]'; }
within 'a slow leg that is written is behind' 100 behind
begun=$(cut -d. -f1 /proc/uptime)
for i in 1 2 3 4 5 6; do put "$i" "three$i"; done
ended=$(cut -d. -f1 /proc/uptime)
test $((ended - begun)) -lt 15 || fail "six writes took $((ended - begun)) s, three for each on the slow leg"
ubd-compose events m | grep -q 'leg_behind d0' || fail "no event: $(ubd-compose events m)"
to "0 $sectors linear /dev/vda 0"
again() { get "$device" 0 >/dev/null && is in_sync; }
within 'it is in sync again' 100 again
ubd-compose events m | grep -q 'leg_caught_up d0' || fail "no event: $(ubd-compose events m)"
ubd-compose delete m
# Behind the labels and the bitmaps, of 4 and 1 MiB.
cmp -n $((8 << 20)) /dev/vda /dev/vdb $((5 << 20)) $((5 << 20)) || fail "the legs differ"
no_hung_tasks
