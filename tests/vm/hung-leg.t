# shellcheck shell=sh
# vm: -k all -d 32M -d 32M -t 300
# drivers: ubd ublk
# A leg that hangs is gone on without, and stays out while its late I/O is under way; it gets what it missed.
. ./guest.sh

load_driver
echo "0 $(blockdev --getsz /dev/vda) linear /dev/vda 0" | dmsetup create leg
cat >m.json <<'EOT'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "read_policy": "first", "region_size": "64KiB", "timeout_ms": 2000, "children": [
    { "id": "d0", "type": "block", "path": "/dev/mapper/leg" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
EOT
state() { ubd-compose status --json m | tr -d ' \n' | grep -o '"leg_states":\["[a-z_]*","[a-z_]*"\]'; }
is() { test "$(state)" = "\"leg_states\":[\"$1\",\"in_sync\"]"; }
status_has() { ubd-compose status --json m | tr -d ' \n' | grep -qF "$1"; }
put() { echo "$1" | timeout 120 dd of="$device" bs=4096 count=1 seek="$2" conv=sync oflag=direct 2>/dev/null; }
get() { timeout 120 dd if="$device" bs=4096 count=1 skip="$1" iflag=direct 2>/dev/null | head -n 1; }
hang() { dmsetup suspend --nolockfs --noflush leg; }

device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
put one 0
hang
put two 0 || fail 'a write while a leg hangs'
put three 300 || fail 'another one'
expect 'what was written is read' two "$(get 0)"
is failed || fail "the state of the legs: $(state)"
status_has '"hung":true' || fail "the status: $(ubd-compose status --json m)"
within 'that is told' 60 sh -c 'ubd-compose events m | grep -q "leaf_hung d0 "'
refuses 'a leg with late I/O is not taken back' ubd-compose add m d0
dmsetup resume leg
within 'its late I/O ends' 60 status_has '"late":0'
ubd-compose add m d0 || fail 'add'
within 'it is brought up to date' 120 is in_sync
expect 'what was written is still read' two "$(get 0)"

# It hangs again, and answers before the device is deleted: the next start brings it up to date.
hang
put four 300 || fail 'a write while a leg hangs again'
dmsetup resume leg
within 'its late I/O ends again' 60 status_has '"late":0'
ubd-compose delete m
device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
within 'it is brought up to date by the next start' 120 is in_sync
expect 'the bytes of before' two "$(get 0)"
expect 'and those of the end' four "$(get 300)"
ubd-compose delete m
data_of() { dd if="$1" bs=64k skip=80 count=32 iflag=direct 2>/dev/null | md5sum; }
expect 'both legs hold the same' "$(data_of /dev/vdb)" "$(data_of /dev/vda)"
no_hung_tasks
