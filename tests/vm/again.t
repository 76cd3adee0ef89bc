#!/bin/sh
# When `delete` returns, the legs are free: the same tree can be created again at once.
# On one processor, counting instructions, as there the kernel comes to its clean-up late.
# vm: -k all -i -t 180
# drivers: ubd ublk
. ./guest.sh

load_driver
modprobe brd rd_nr=2 rd_size=16384
cat >tree.json <<'EOF'
{ "format": 1, "name": "again",
  "root": { "type": "stripe", "chunk_size": "64KiB", "children": [
    { "type": "block", "path": "/dev/ram0", "label": false },
    { "type": "block", "path": "/dev/ram1", "label": false } ] } }
EOF
for round in 1 2 3 4 5; do
	device=$(ubd-compose create tree.json) || fail "create, round $round"
	dd if=/dev/zero of="$device" bs=64k count=16 oflag=direct 2>/dev/null || fail "write, round $round"
	ubd-compose delete again || fail "delete, round $round"
	[ ! -e "$device" ] || fail "$device is still there, round $round"
done
ok "created, written and deleted five times"
expect_status "the driver can be unloaded at once" 0 unload_driver
no_hung_tasks "nothing hangs"
