# shellcheck shell=sh
# vm: -k all -d 64M -d 64M -t 180
# A leg stops answering: writes go on without it, what it answers late harms nothing, and the device can
# be deleted while it hangs.
. ./guest.sh

modprobe ubd
sectors=$(blockdev --getsz /dev/vdb)
echo "0 $sectors linear /dev/vdb 0" | dmsetup create leg
cat >m.json <<'EOT'
{ "format": 1, "name": "m",
  "device": { "queue_depth": 8, "max_io_size": "64KiB" },
  "root": { "id": "m0", "type": "mirror", "timeout": 2, "read_policy": "first", "children": [
    { "id": "d1", "type": "block", "path": "/dev/mapper/leg" },
    { "id": "d0", "type": "block", "path": "/dev/vda" } ] } }
EOT

# put WORD BLOCK, get BLOCK
put() { echo "$1" | dd of="$device" bs=4096 seek="$2" conv=sync oflag=direct 2>/dev/null; }
get() { dd if="$device" bs=4096 skip="$1" count=1 iflag=direct 2>/dev/null | head -n 1; }
# in_time WHAT SECONDS COMMAND...: it succeeds, and takes no longer.
in_time() {
	_what=$1 _limit=$(($2 * patience)) _begun=$(date +%s)
	shift 2
	"$@" || fail "$_what: $*: failed"
	_took=$(($(date +%s) - _begun))
	[ "$_took" -le "$_limit" ] || fail "$_what: took $_took s, more than $_limit"
	ok "$_what ($_took s)"
}

device=$(ubd-compose create m.json)
put one 0
dmsetup suspend --nolockfs --noflush leg
expect 'a read of the leg that hangs is served by the other' one "$(get 0)"
in_time 'a write that hangs ends' 10 put two 1
ubd-compose status --json m >status
grep -q '"legs_in_sync": 1' status || fail "the leg is not out: $(cat status)"
ok 'the leg is out'
in_time 'many follow' 20 dd if=/dev/urandom of="$device" bs=4096 seek=100 count=200 oflag=direct status=none
in_time 'with larger ones' 20 dd if=/dev/zero of="$device" bs=64k seek=100 count=50 oflag=direct status=none
for block in 10 11 12 13 14 15 16 17 18 19; do put "word $block" $block; done
dd if="$device" bs=4096 count=300 iflag=direct 2>/dev/null | sha256sum >before
dmsetup resume leg
sleep 1
for block in 10 11 12 13 14 15 16 17 18 19; do
	[ "$(get $block)" = "word $block" ] || fail "block $block holds $(get $block)"
done
expect 'what is there stays as it is' "$(cat before)" "$(dd if="$device" bs=4096 count=300 iflag=direct 2>/dev/null | sha256sum)"
expect 'what was written before the leg failed is there' 'one two' "$(get 0) $(get 1)"
in_time 'delete' 10 ubd-compose delete m
no_hung_tasks

# Both as new, and deleted while the leg hangs.
ubd-compose wipe /dev/mapper/leg /dev/vda
ubd-compose create -f --force m.json >path 2>log &
within 'it is there again' 20 test -s path
device=$(cat path)
put one 0
dmsetup suspend --nolockfs --noflush leg
in_time 'a write that hangs ends' 10 put two 1
in_time 'delete while the leg hangs' 20 ubd-compose delete m
grep -q 'd1, /dev/mapper/leg has not answered 1 requests for 2 s: it stays in use until it does' log ||
	fail "what remains is not told: $(cat log)"
ok 'what remains is told'
[ ! -e "$device" ] || fail "$device is still there"
refuses 'the leaf is not free yet' timeout 20 ubd-compose create m.json
dmsetup resume leg
within 'the leaf is free once it has answered' 20 sh -c 'ubd-compose check m.json >out 2>err'
device=$(ubd-compose create m.json 2>err) || fail "create: $(cat err)"
grep -q 'leg d1 (/dev/mapper/leg) missed writes' err || fail "the stale leg is not named: $(cat err)"
expect 'what was acknowledged is there' 'one two' "$(get 0) $(get 1)"
in_time 'delete' 10 ubd-compose delete m
within 'the module unloads' 10 rmmod ubd
