# vm: -k any -d 64M -d 64M
# drivers: ubd ublk
# A device's life: create prints its path alone, every name leads to it, delete leaves nothing, create finds it again.
. ./guest.sh

load_driver
cat >tree.json <<'END'
{ "format": 1, "name": "vol0",
  "root": { "id": "s0", "type": "stripe", "chunk_size": "64KiB", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
END

ubd-compose check tree.json >out 2>notes || fail "check: $(cat out notes)"
expect 'check says what will be formatted' 2 "$(grep -c 'will be formatted' out)"
expect 'check has written nothing' '' "$(tr -d '\0' </dev/vda | head -c 1)"

path=$(ubd-compose create tree.json 2>notes) || fail "create: $(cat notes)"
expect 'create prints the path' "/dev/$disk0" "$path"
[ -b "$path" ] || fail "$path is no block device"
dd if=/dev/urandom of=data bs=1M count=8 2>/dev/null
dd if=data of="$path" bs=1M oflag=direct conv=fsync 2>/dev/null || fail 'the device cannot be written'
ok 'the device can be used when create returns'

size=$(blockdev --getsize64 "$path")
expect 'status has the size' 1 "$(ubd-compose status --json vol0 | grep -c "^  \"size\": $size,\$")"
expect 'the size is the one that check said' 1 "$(grep -c "^  $size bytes" out)"
ln -s "$path" link
for name in vol0 0 "$disk0" "/dev/$disk0" ./link; do
	expect "it is called $name" 1 "$(ubd-compose status "$name" | grep -c "^vol0  /dev/$disk0 ")"
done
expect 'the list has it' 1 "$(ubd-compose list | grep -c "^vol0 */dev/$disk0 .* running\$")"
expect 'writes are counted' 1 "$(ubd-compose status vol0 | grep -c '^  write .* 8 MiB')"

expect 'delete says nothing' '' "$(ubd-compose delete "$path" 2>&1)"
[ ! -e "$path" ] || fail "$path is still there"
expect 'no daemon is left' '' "$(pidof ubd-compose || true)"
expect 'the run directory is empty' '' "$(ls -A /run/ubd-compose)"
expect 'no node is left' "$control_node" "$(driver_nodes)"

# At once again: nothing of the first one may be in the way.
expect 'create makes it again, without a note' "/dev/$disk0" "$(ubd-compose create tree.json 2>&1)"
cmp -n 8388608 data "/dev/$disk0" || fail 'the data is not what was written'
ok 'the data is there'
ubd-compose delete vol0
unload_driver
ok 'the module goes'
no_hung_tasks 'nothing hangs'
