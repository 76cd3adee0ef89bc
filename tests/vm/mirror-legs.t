# shellcheck shell=sh
# vm: -k all -d 32M -d 32M -t 600
# drivers: ubd ublk
# A leg is given up and taken in again while the device is in use; one that was away at a crash comes back
# and gets what it missed; afterwards both hold the same.
. ./guest.sh

load_driver
cat >m.json <<'EOT'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "region_size": "64KiB", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
EOT
state() { ubd-compose status --json m | tr -d ' \n' | grep -o '"leg_states":\["[a-z_]*","[a-z_]*"\]'; }
both='"leg_states":["in_sync","in_sync"]'
in_sync() { test "$(state)" = "$both"; }

device=$(ubd-compose create m.json)
expect 'a new mirror needs no sync' "$both" "$(state)"
dd if=/dev/urandom of="$device" bs=64k count=32 oflag=direct 2>/dev/null
ubd-compose fail m d1 || fail 'fail'
within 'the leg is given up' 60 sh -c 'ubd-compose status m | grep -q "d1 .*FAILED"'
within 'that is told' 60 sh -c 'ubd-compose events m | grep -q "leg_failed d1"'
refuses 'the last leg cannot be failed' ubd-compose fail m d0
dd if=/dev/urandom of="$device" bs=64k count=8 seek=16 oflag=direct 2>/dev/null || fail 'a write to the leg that is left'
ubd-compose add m d1 || fail 'add'
within 'it is brought up to date' 60 in_sync || ubd-compose status --json m
happened() { ubd-compose events m | awk '$3 ~ /^(leg_failed|resync_)/ { print $3, $4 }' | tr '\n' ' '; }
expect 'all that is told' 'leg_failed d1 resync_started d1 resync_ended d1 ' "$(happened)"
sum=$(dd if="$device" bs=64k count=32 iflag=direct 2>/dev/null | md5sum)
ubd-compose delete m
# The data of each begin behind 4 MiB of label and 1 MiB of bitmap.
data_of() { dd if="$1" bs=64k skip=80 count=32 iflag=direct 2>/dev/null | md5sum; }
legs_differ() { test "$(data_of /dev/vda)" != "$(data_of /dev/vdb)"; }
legs_differ && fail 'the legs differ after a resync'
ok 'both legs hold the same'

# The daemon dies while the second leg is away; then it comes back.
sed 's|/dev/vdb|/dev/vdz|' m.json >one.json
device=$(ubd-compose create --degraded one.json 2>/dev/null)
dd if=/dev/urandom of="$device" bs=64k count=4 seek=3 oflag=direct 2>/dev/null
kill -9 "$(ubd-compose status --json m | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
within 'the device is gone' 60 test ! -e "$device"
device=$(ubd-compose create m.json 2>notes) || fail "create: $(cat notes)"
grep -qF 'leg d1 (/dev/vdb) missed writes and is brought up to date' notes || fail "no note: $(cat notes)"
within 'it is brought up to date again' 60 in_sync
test "$(dd if="$device" bs=64k count=32 iflag=direct 2>/dev/null | md5sum)" != "$sum" || fail 'the writes are lost'

# Somebody writes to one leg past us: a scrub finds that, and writes what the user believes.
scrubbed() { ubd-compose status --json m | tr -d ' \n' | grep -o '"scrub":{.*' | grep -qF "$1"; }
dd if=/dev/urandom of=/dev/vdb bs=512 count=3 seek=$((5 * 2048 + 8)) oflag=direct 2>/dev/null
ubd-compose scrub m || fail 'scrub'
within 'the scrub ends' 60 scrubbed '"state":"done"' || ubd-compose status --json m
scrubbed '"ranges":[{"offset":4096,"length":1536,"legs":["d0","d1"],"verdict":"undecided"}]' ||
	fail "what the scrub found: $(ubd-compose status --json m)"
legs_differ || fail 'a scrub wrote what nobody had asked for'
ubd-compose scrub --repair --believe=d0 --rate=32MiB m || fail 'scrub --repair'
within 'what it found is written' 60 scrubbed '"repaired":1536' || ubd-compose status --json m
ubd-compose delete m
legs_differ && fail 'the legs differ after the second resync and the scrub'
ok 'both legs hold the same again'

# The second disk is lost for good: a blank one is refused, until the user says that it is to be added.
dd if=/dev/zero of=/dev/vdb bs=1M oflag=direct 2>/dev/null || : # it ends with the disk
refuses 'a blank disk' ubd-compose create m.json
device=$(ubd-compose create --add m.json 2>notes) || fail "create --add: $(cat notes)"
grep -qF 'd1: /dev/vdb is formatted and added' notes || fail "no note: $(cat notes)"
within 'it is brought up to date in full' 60 in_sync
ubd-compose delete m
legs_differ && fail 'the legs differ after a disk was added'
ok 'both legs hold the same, the new one too'

# A spare stands by, takes a failed leg's place by itself, and keeps it; the failed one is missed no more.
cat >spare.json <<'EOT'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "region_size": "64KiB", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ], "spares": [
    { "id": "s0", "type": "file", "path": "s.img", "size": "27MiB", "direct": false } ] } }
EOT
leg_states() { ubd-compose status --json m | tr -d ' \n' | grep -o '"leg_states":\[[^]]*\]'; }
legs_are() { test "$(leg_states)" = "\"leg_states\":$1"; }
device=$(ubd-compose create --force spare.json 2>/dev/null) || fail 'create with a spare'
legs_are '["in_sync","in_sync","spare"]' || fail "new legs are $(leg_states)"
dd if=/dev/urandom of="$device" bs=64k count=8 oflag=direct 2>/dev/null
sum=$(dd if="$device" bs=64k count=8 iflag=direct 2>/dev/null | md5sum)
ubd-compose fail m d1 || fail 'fail'
within 'the spare is brought up to date' 60 legs_are '["in_sync","failed","in_sync"]' || ubd-compose status --json m
ubd-compose events m | awk '{ print $3, $4 }' | grep -qx 'spare_taken s0' || fail "what is told: $(ubd-compose events m)"
ubd-compose delete m
sed 's|/dev/vdb|/dev/vdz|' spare.json >without.json
device=$(ubd-compose create without.json 2>notes) || fail "create without the failed one: $(cat notes)"
grep -qF 'spare d1 (/dev/vdz) is not there and is not used; 2 of 2 legs in sync' notes || fail "no note: $(cat notes)"
expect 'nothing is lost' "$sum" "$(dd if="$device" bs=64k count=8 iflag=direct 2>/dev/null | md5sum)"
ubd-compose delete m
expect 'the spare has it too' "$sum" "$(dd if=s.img bs=64k skip=80 count=8 2>/dev/null | md5sum)"

# The leg that took it is replaced in turn while it serves, by the one that had failed.
device=$(ubd-compose create spare.json 2>/dev/null) || fail 'create with both'
legs_are '["in_sync","spare","in_sync"]' || fail "with both the legs are $(leg_states)"
refuses 'a spare is nobody to replace' ubd-compose replace m d1
refuses 'a leg is no spare' ubd-compose replace --with=d0 m s0
ubd-compose replace --with=d1 m s0 || fail 'replace'
dd if=/dev/urandom of="$device" bs=64k count=8 oflag=direct 2>/dev/null || fail 'a write while a leg is replaced'
sum=$(dd if="$device" bs=64k count=8 iflag=direct 2>/dev/null | md5sum)
within 'the spare takes its place' 60 legs_are '["in_sync","in_sync","replaced"]' || ubd-compose status --json m
ubd-compose events m | awk '{ print $3, $4 }' | grep -qx 'replace_ended s0' || fail "what is told: $(ubd-compose events m)"
ubd-compose delete m
expect 'who took it has everything' "$sum" "$(dd if=/dev/vdb bs=64k skip=80 count=8 iflag=direct 2>/dev/null | md5sum)"
no_hung_tasks 'nothing hangs'
