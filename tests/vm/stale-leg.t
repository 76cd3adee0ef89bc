# shellcheck shell=sh
# vm: -k any -d 64M -d 64M -t 120
# drivers: ubd ublk
# A mirror's leg dies under writes, and then the daemon too: the next create knows which leg missed them.
. ./guest.sh

load_driver
sectors=$(blockdev --getsz /dev/vdb)
echo "0 $sectors linear /dev/vdb 0" | dmsetup create leg
cat >m.json <<'EOT'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "block", "path": "/dev/mapper/leg" } ] } }
EOT

device=$(ubd-compose create m.json)
echo one | dd of="$device" bs=4096 conv=sync oflag=direct 2>/dev/null
dmsetup suspend leg
echo "0 $sectors error" | dmsetup reload leg
dmsetup resume leg
echo two | dd of="$device" bs=4096 conv=sync oflag=direct 2>/dev/null || fail 'a write fails although a leg is left'
expect 'the write is acknowledged' two "$(dd if="$device" bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1)"
kill -9 "$(ubd-compose status --json m | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
within 'the device is gone' 10 test ! -e "$device"

dmsetup suspend leg
echo "0 $sectors linear /dev/vdb 0" | dmsetup reload leg
dmsetup resume leg
within 'the leg is free' 10 sh -c 'ubd-compose check m.json >out 2>err'
device=$(ubd-compose create m.json 2>err) || fail "create: $(cat err)"
grep -qF 'mirror m0: leg d1 (/dev/mapper/leg) missed writes and is brought up to date; 1 of 2 legs in sync' err ||
	fail "the stale leg is not named: $(cat err)"
grep -qF 'm was not stopped cleanly' err || fail "the unclean stop is not told: $(cat err)"
ok 'the stale leg is named'
expect 'what was acknowledged is there' two "$(dd if="$device" bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1)"
ubd-compose delete m

# The stale one alone, listed first, as if it were the only one there ever was.
sed -i 's|/dev/vda|/dev/vdz|; s|/dev/mapper/leg|/dev/vdb|' m.json
dmsetup remove leg
refuses 'the stale leg alone is not served by itself' ubd-compose create m.json
sed -i 's|/dev/vdb|/dev/vdy|; s|/dev/vdz|/dev/vda|' m.json
refuses 'nor the good one without --degraded' ubd-compose create m.json
device=$(ubd-compose create --degraded m.json) || fail 'the good leg alone, degraded'
expect 'and it has everything' two "$(dd if="$device" bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1)"
ubd-compose delete m
