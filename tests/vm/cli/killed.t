# vm: -k all -d 64M
# drivers: ubd ublk
# A daemon that was killed: listed as dead, tidied up by delete, replaced by create; what was written stays.
. ./guest.sh

load_driver
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "d0", "type": "block", "path": "/dev/vda" } }
END

ubd-compose create tree.json >/dev/null 2>&1
dd if=/dev/urandom of=data bs=1M count=4 2>/dev/null
dd if=data of="/dev/$disk0" bs=1M oflag=direct 2>/dev/null
kill -9 "$(pid_of)"
within 'the disk goes' 10 sh -c "! test -e /sys/block/$disk0"
expect 'the list says so' 1 "$(ubd-compose list | grep -c '^vol0 .* dead$')"
expect 'so does its JSON' 1 "$(ubd-compose list --json | grep -c '"state": "dead"')"
expect 'status says so' 'ubd-compose: vol0: its daemon is dead' "$(ubd-compose status vol0 2>&1)"
expect 'delete tidies up' 'ubd-compose: vol0: its daemon had died; removed what it left' "$(ubd-compose delete vol0 2>&1)"
expect 'nothing is left' "$control_node" "$(driver_nodes)"
expect 'nothing is listed' '' "$(ubd-compose list)"

for round in 1 2 3; do
	expect "create $round takes the number again" "/dev/$disk0" "$(ubd-compose create tree.json 2>/dev/null)"
	cmp -n 4194304 data "/dev/$disk0" || fail 'acknowledged data is lost'
	kill -9 "$(pid_of)"
done
expect 'create after a kill takes the number again' "/dev/$disk0" "$(ubd-compose create tree.json 2>/dev/null)"
ubd-compose delete vol0

# A killed daemon's I/O on a leaf that stands still is part of its exit: who comes meanwhile waits for it.
dmsetup create leg --table "0 $(blockdev --getsz /dev/vda) linear /dev/vda 0"
sed 's,/dev/vda,/dev/mapper/leg,' tree.json >slow.json
ubd-compose create slow.json >/dev/null 2>&1 || fail 'create over dm'
dmsetup suspend --nolockfs --noflush leg
dd if="/dev/$disk0" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
reader=$!
within 'the leaf has a read' 10 sh -c "[ \$(awk '{ print \$1 + \$2 }' /sys/block/$disk0/inflight) != 0 ]"
sleep 0.5
kill -9 "$(pid_of)"
{ sleep 7; dmsetup resume leg; } &
expect 'create waits for it' "/dev/$disk0" "$(ubd-compose create slow.json 2>/dev/null)"
wait $reader || true
cmp -n 4194304 data "/dev/$disk0" || fail 'acknowledged data is lost'
ubd-compose delete vol0
dmsetup remove leg

# A daemon that is stopped answers nobody, but nobody waits for ever.
ubd-compose create tree.json >/dev/null 2>&1
pid=$(pid_of)
kill -STOP "$pid"
expect 'a stopped daemon is silent' 1 "$(ubd-compose list | grep -c '^vol0 .* silent$')"
expect 'delete tells that' 1 "$(ubd-compose delete vol0 2>&1 | grep -c "^ubd-compose: vol0: its daemon (pid $pid) hasn't answered within 5 s\$")"
kill -CONT "$pid"
ubd-compose delete vol0 || fail 'it goes on afterwards'
ok 'it goes on afterwards'
no_hung_tasks 'nothing hangs'
