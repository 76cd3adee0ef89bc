# vm: -k any -d 16M -d 16M
# drivers: ubd ublk
# What `create` refuses leaves nothing made, formatted or running.
. ./guest.sh

cat >tree.json <<'END'
{ "format": 1, "name": "vol0",
  "root": { "id": "s0", "type": "stripe", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "file", "path": "/run/new.img", "size": "32MiB", "direct": false } ] } }
END

# refused WHAT PATTERN TREE [OPTION]...
refused() {
	what=$1 pattern=$2 status=0
	shift 2
	before=$(sha256sum /dev/vda /dev/vdb)
	processes=$(pidof ubd-compose | wc -w)
	ubd-compose create "$@" >out 2>err || status=$?
	expect "$what: status" 1 "$status"
	grep -qE "^ubd-compose: $pattern" err || fail "$what: $(cat err)"
	ok "$what: $(head -n 1 err)"
	[ ! -s out ] || fail "$what: output: $(cat out)"
	expect "$what: no leaf was touched" "$before" "$(sha256sum /dev/vda /dev/vdb)"
	[ ! -e /run/new.img ] || fail "$what: a file was made"
	expect "$what: nothing runs" "$processes" "$(pidof ubd-compose | wc -w)"
}

refused 'no module' 'neither driver is loaded; try: modprobe ubd, or modprobe ublk_drv' tree.json
load_driver
sed 's/32MiB/5/' tree.json >bad.json
refused 'a leaf without room' '.*bad.json:4' bad.json
sed 's/"stripe",/"stripe", "chunk_size": "1GiB",/' tree.json >bad.json
refused 'a leaf smaller than a chunk, which only open() can tell' 'stripe: the smallest leg has' bad.json
sed 's,/run/new.img",/run/nowhere/new.img",' tree.json >bad.json
refused 'no such directory' '.*/run/nowhere' bad.json
sed 's,/run/new.img",/run",' tree.json >bad.json
refused 'a directory as a leaf' '.*/run ' bad.json
sed 's,"file"\, "path": "/run/new.img"\, "size": "32MiB"\, "direct": false,"block"\, "path": "/dev/vda",' tree.json >bad.json
refused 'one disk twice' '.*/dev/vda' bad.json
mkfs.ext4 -q -L home /dev/vda
refused 'a file system' '.*ext4' tree.json
refused 'a file system, in the foreground' '.*ext4' -f tree.json
dd if=/dev/zero of=/dev/vda bs=1M count=16 conv=fsync 2>/dev/null

ubd-compose create tree.json >/dev/null 2>&1 || fail 'what is good is refused'
mv /run/new.img /run/kept.img # so that refused() sees no new one
sed 's,/dev/vda,/dev/vdb,' tree.json >bad.json
refused 'a name in use' 'name "vol0" is in use: a daemon already serves a device of that name' bad.json
sed 's,"vol0","vol1",' tree.json >bad.json
refused 'leaves of another device' '.*/dev/vda is open in process [0-9]+ \(ubd-compose\)' bad.json
sed "s,\"vol0\",\"vol1\",; s,/dev/vda,/dev/$disk0,; s,new.img,new2.img," tree.json >bad.json
refused 'our own device as a leaf' ".*/dev/$disk0" bad.json
ubd-compose delete vol0 || fail 'delete'
expect 'nothing is left at all' "$control_node" "$(driver_nodes)"
no_hung_tasks 'nothing hangs'
