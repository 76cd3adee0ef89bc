# shellcheck shell=sh
# vm: -d 32M -d 32M -t 300
# A leg that doesn't answer is called slow, and read last until it is quick again; who waits for it already waits on.
. ./guest.sh

modprobe ubd
echo "0 $(blockdev --getsz /dev/vda) linear /dev/vda 0" | dmsetup create leg
cat >m.json <<'EOT'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "read_policy": "first", "slow_after_ms": 2000, "children": [
    { "id": "d0", "type": "block", "path": "/dev/mapper/leg" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
EOT
state() { ubd-compose status --json m | tr -d ' \n' | grep -o '"leg_states":\["[a-z_]*","[a-z_]*"\]'; }
is() { test "$(state)" = "\"leg_states\":[\"$1\",\"in_sync\"]"; }
get() { dd if="$device" bs=4096 count=1 skip="$1" iflag=direct 2>/dev/null | head -n 1; }

device=$(ubd-compose create m.json 2>log) || fail "create: $(cat log)"
echo one | dd of="$device" bs=4096 conv=sync oflag=direct 2>/dev/null
expect 'a leg is in sync, and not slow' one "$(get 0)"
within 'it is not slow' 60 is in_sync
# Until a region of a new mirror is made even one leg alone is read there, slow or not.
even() { ubd-compose status --json m | tr -d ' \n' | grep -q '"regions_dirty":0,"regions_to_copy":0'; }
within 'its legs are even' 120 even
dmsetup suspend --nolockfs --noflush leg
get 0 >waiting &
within 'a leg that hangs is slow' 60 is slow
expect 'the other one is read' one "$(timeout 60 dd if="$device" bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1)"
ubd-compose events m | grep -q 'leg_slow d0 ' || fail "no event: $(ubd-compose events m)"
dmsetup resume leg
wait
expect 'who waited is served' one "$(cat waiting)"
again() { get 0 >/dev/null && is in_sync; }
within 'it is quick again' 120 again
ubd-compose delete m
no_hung_tasks
