# vm: -k all -d 128M -t 90
# drivers: ubd ublk
# SIGTERM under a mounted file system and under load: it ends in time, and what was flushed is there afterwards.
. ./guest.sh

load_driver
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "d0", "type": "block", "path": "/dev/vda" } }
END

disk=$(ubd-compose create tree.json 2>/dev/null)
mkfs.ext4 -q "$disk"
mkdir /mnt/x
mount "$disk" /mnt/x
dd if=/dev/urandom of=/mnt/x/flushed bs=1M count=16 conv=fsync 2>/dev/null
sum=$(md5sum </mnt/x/flushed)
sh -c 'while dd if=/dev/zero of=/mnt/x/more bs=64k count=64 oflag=direct; do :; done' >/dev/null 2>&1 &
load=$!
sleep 1
kill "$(pid_of)"
within 'the daemon ends' 20 sh -c '! pidof ubd-compose >/dev/null'
wait "$load" || true
ok 'the load ends'
expect 'nothing is left of it' "$control_node" "$(driver_nodes)"
umount /mnt/x || umount -l /mnt/x

disk=$(ubd-compose create tree.json 2>err) || fail "create: $(cat err)"
expect 'it was stopped cleanly' '' "$(cat err)"
mount "$disk" /mnt/x
expect 'what was flushed is there' "$sum" "$(md5sum </mnt/x/flushed)"
umount /mnt/x
ubd-compose delete vol0
no_hung_tasks 'nothing hangs'
