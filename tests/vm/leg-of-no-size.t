# vm: -k any -t 60
# A leg that has become empty gives errors, not zeroes; also when the driver itself reads it, and on kernels that take a size of 0
# for an unknown one.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
modprobe loop
truncate -s 16M leg0 leg1
losetup /dev/loop0 leg0
losetup /dev/loop1 leg1
for fan_out in passthrough gathered; do
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "fan_out": "$fan_out" }, "root": { "type": "stripe", "chunk_size": "64KiB", "children": [
    { "type": "block", "path": "/dev/loop0", "label": false }, { "type": "block", "path": "/dev/loop1", "label": false } ] } }
END
	ubd-compose create tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
	dd if=/dev/urandom of=/dev/ubdb0 bs=64k count=4 oflag=direct 2>/dev/null || fail 'a write'
	truncate -s 0 leg1
	losetup -c /dev/loop1
	expect "$fan_out: the leg is empty" 0 "$(cat /sys/block/loop1/size)"
	dd if=/dev/ubdb0 of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null || fail 'the other leg'
	refuses "$fan_out: what was on it can't be read" dd if=/dev/ubdb0 of=/dev/null bs=64k count=1 skip=1 iflag=direct 2>/dev/null
	ubd-compose delete vol0 2>/dev/null || true
	truncate -s 16M leg1
	losetup -c /dev/loop1
done
no_hung_tasks
