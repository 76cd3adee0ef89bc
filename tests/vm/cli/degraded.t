# vm: -k any -d 32M -d 32M
# drivers: ubd ublk
# A leg that fails: logged once, shown in the list and the status; its absence is accepted with --degraded only.
. ./guest.sh

load_driver
dmsetup create leg --table '0 65536 linear /dev/vdb 0'
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "m0", "type": "mirror", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "block", "path": "/dev/mapper/leg" } ] } }
END
ubd-compose create -f tree.json >out 2>err &
within 'the device is live' 10 grep -qx "/dev/$disk0" out
expect 'it is running' 1 "$(ubd-compose list | grep -c ' running$')"
dmsetup suspend leg
dmsetup load leg --table '0 65536 error'
dmsetup resume leg
dd if=/dev/urandom of="/dev/$disk0" bs=64k count=4 oflag=direct 2>/dev/null || fail 'the user sees the failure'
expect 'the list says degraded' 1 "$(ubd-compose list | grep -c ' degraded$')"
expect 'status names the leg' 1 "$(ubd-compose status vol0 | grep -c 'd1  block .* FAILED  /dev/mapper/leg ')"
message='ubd-compose: vol0: block d1, /dev/mapper/leg has failed and is left out of m0'
within 'the failure is logged' 5 grep -qxF "$message" err
dd if=/dev/urandom of="/dev/$disk0" bs=64k count=4 oflag=direct 2>/dev/null
ubd-compose delete vol0
wait $!
expect 'once' 1 "$(grep -cxF "$message" err)"

dmsetup remove leg
refuses 'a missing leg is refused' ubd-compose create tree.json
refuses 'check says so' ubd-compose check tree.json
expect 'check --degraded shows it' 1 "$(ubd-compose check --degraded tree.json 2>/dev/null | grep -c 'd1 .*is missing: left out$')"
expect 'create --degraded goes on' "/dev/$disk0" "$(ubd-compose create --degraded tree.json 2>notes)"
grep -q 'd1 .*1 of 2 legs in sync' notes || fail "no note: $(cat notes)"
ok 'and says what is left out'
ubd-compose delete vol0
no_hung_tasks 'nothing hangs'
