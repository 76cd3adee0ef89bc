# vm: -k any -d 64M
# drivers: ubd ublk
# In the foreground: the path on stdout, traces on stderr, SIGINT stops, a hang-up doesn't.
. ./guest.sh

load_driver
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "d0", "type": "block", "path": "/dev/vda" } }
END
ubd-compose create -f --debug=request,op tree.json >out 2>err &
daemon=$!
within 'the path is printed' 10 grep -qx "/dev/$disk0" out
dd if="/dev/$disk0" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
grep -q 'read offset=0 length=4096' err || fail "no trace: $(cat err)"
ok 'requests are traced'
kill -HUP $daemon
sleep 0.3
expect 'it goes on after a hang-up' 1 "$(ubd-compose list | grep -c running)"
kill -INT $daemon
status=0
wait $daemon || status=$?
expect 'it ends well by SIGINT' 0 "$status"
tail -n 1 err | grep -qx 'ubd-compose: vol0: stopping: SIGINT' || fail "last words: $(tail -n 1 err)"
ok 'it says why it stops'
expect 'nothing is left' "$control_node" "$(driver_nodes)"
no_hung_tasks 'nothing hangs'
