# vm: -k any -d 64M
# drivers: ubd ublk
# A device that somebody else stops: its daemon ends by itself, cleanly, and leaves nothing.
. ./guest.sh

load_driver
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "d0", "type": "block", "path": "/dev/vda" } }
END
ubd-compose create -f tree.json >out 2>err &
daemon=$!
within 'the device is live' 10 grep -qx "/dev/$disk0" out
dd if=/dev/urandom of=data bs=1M count=4 2>/dev/null
dd if=data of="/dev/$disk0" bs=1M oflag=direct 2>/dev/null
stop_device "$DRIVER" 0
status=0
wait $daemon || status=$?
expect 'the daemon ends well' 0 "$status"
expect 'and says why' 1 "$(grep -cx "ubd-compose: vol0: stopping: /dev/$disk0 was stopped elsewhere" err)"
expect 'nothing is left' "$control_node" "$(driver_nodes)"
expect 'the run directory is empty' '' "$(ls -A /run/ubd-compose)"
expect 'it is made again as after a clean stop' "/dev/$disk0" "$(ubd-compose create tree.json 2>&1)"
cmp -n 4194304 data "/dev/$disk0" || fail 'what was written is lost'
ok 'what was written is there'
ubd-compose delete vol0
no_hung_tasks 'nothing hangs'
