# shellcheck shell=sh
# vm: -k 6.12 -d 64M -t 240 -w
# drivers: ubd ublk
# A create that the kernel doesn't answer, here since the partition scan waits for a leaf: given up after a minute, nobody
# is kept waiting, and once the leaf answers all goes on as after a killed daemon. (-w: the kernel tells of its own wait.)
. ./guest.sh

load_driver
sectors=$(blockdev --getsz /dev/vda)
table() { dmsetup suspend --nolockfs leg && echo "$1" | dmsetup reload leg && dmsetup resume leg; }
echo "0 $sectors linear /dev/vda 0" | dmsetup create leg
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "l0", "type": "linear", "offset": "8MiB", "children": [
  { "id": "d0", "type": "block", "path": "/dev/mapper/leg" } ] } }
END
ubd-compose create tree.json >/dev/null 2>&1 || fail 'create'
dd if=/dev/urandom of=data bs=1M count=4 2>/dev/null
dd if=data of="/dev/$disk0" bs=1M oflag=direct 2>/dev/null
begin=24576 # of the device on the leaf, behind 4 MiB of label and the window's offset, where nobody looks for contents
ubd-compose delete vol0

table "0 $begin linear /dev/vda 0
$begin 128 delay /dev/vda $begin 3600000 /dev/vda $begin 0 /dev/vda $begin 0
$((begin + 128)) $((sectors - begin - 128)) linear /dev/vda $((begin + 128))"
started=$(cut -d. -f1 /proc/uptime) status=0
ubd-compose create tree.json >out 2>err || status=$?
took=$(($(cut -d. -f1 /proc/uptime) - started))
expect 'create fails' 1 "$status"
expect 'it prints no path' '' "$(cat out)"
expect 'it says why' "ubd-compose: /dev/$disk0: the kernel has not started the disk within 60 s; given up" "$(sed -n 1p err)"
[ "$took" -ge 60 ] && [ "$took" -lt 100 ] || fail "it took $took s"
ok "it took $took s"



table "0 $sectors linear /dev/vda 0"
within 'the daemon ends when the leaf answers' 20 sh -c '! pidof ubd-compose >/dev/null'
expect 'it is listed as dead' 1 "$(ubd-compose list | grep -c '^vol0 .* dead$')"
expect 'create works again, with the same number' "/dev/$disk0" "$(ubd-compose create tree.json 2>err)"
cmp -n 4194304 data "/dev/$disk0" || fail 'what was written is lost'
ok 'what was written is there'
ubd-compose delete vol0
expect 'nothing is left' "$control_node" "$(driver_nodes)"
dmsetup remove leg
unload_driver
