# vm: -k any -d 192M -t 240
# drivers: ubd
# A leg's disk is exchanged while the device is in use: given up, closed, and a blank one is added in its place. No request fails.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

load_driver
disk=/dev/$disk0
mkfs.ext4 -q /dev/vda
mkdir -p leaves mnt
mount /dev/vda leaves
truncate -s 32M leaves/a leaves/b
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "device": { "recovery": "reissue", "recovery_timeout": 600 },
  "root": { "id": "m0", "type": "mirror", "region_size": "64KiB", "children": [
    { "id": "d0", "type": "file", "path": "leaves/a" }, { "id": "d1", "type": "file", "path": "leaves/b" } ] } }
END
legs_are() { ubd-compose status --json vol0 | tr -d ' \n' | grep -qF "\"leg_states\":$1"; }

ubd-compose create tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
mkfs.ext4 -q $disk
mount $disk mnt
fio --name=load --ioengine=io_uring --directory=mnt --size=4m --iodepth=8 --rw=randwrite --bsrange=4k-64k --blockalign=4k \
	--fsync=64 --time_based --runtime=600 --verify=crc32c --verify_fatal=1 --minimal >fio.out 2>&1 &
loader=$!
ubd-compose fail vol0 d1
rm leaves/b
ubd-compose recover --degraded vol0 >/dev/null 2>recover.err || fail "recover --degraded: $(cat recover.err)"
legs_are '["in_sync","failed"]' || fail "it goes on with $(ubd-compose status --json vol0)"
files() { ls -l "/proc/$(pid_of)/fd"; }
files | grep -q leaves/a || fail "its files: $(files)"
files | grep -q leaves/b && fail 'the leaf that is away is still open'
ok 'what was the leg is closed'

truncate -s 32M leaves/b
refuses 'a blank leaf' ubd-compose recover vol0
ubd-compose recover --add vol0 >/dev/null 2>recover.err || fail "recover --add: $(cat recover.err)"
expect 'that is told' 1 "$(grep -c 'd1: .*leaves/b is formatted and added' recover.err)"
within 'it is brought up to date' 20 legs_are '["in_sync","in_sync"]'
kill $loader
wait $loader || :
expect 'no request has failed' '' "$(grep -iE 'error|verify|bad' fio.out)"
umount mnt
e2fsck -fn $disk >/dev/null || fail 'e2fsck'
ubd-compose delete vol0
# The data of each begin behind 4 MiB of label and 1 MiB of bitmap.
data_of() { dd if="$1" bs=64k skip=80 count=400 2>/dev/null | md5sum; }
expect 'both legs hold the same' "$(data_of leaves/a)" "$(data_of leaves/b)"
umount leaves
no_hung_tasks 'nothing hangs'
