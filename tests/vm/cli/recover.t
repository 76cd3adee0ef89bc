# vm: -k all -d 64M -d 64M -t 240
# drivers: ubd ublk
# A device whose document says "recovery" outlives its daemon: a mounted file system sees a pause, nothing is lost.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

load_driver
# tree RECOVERY SECONDS; ublk lets a disk wait for ever.
tree() {
	patience_key=", \"recovery_timeout\": $2"
	[ "$DRIVER" = ubd ] || patience_key=''
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "recovery": "$1"$patience_key },
  "root": { "id": "m0", "type": "mirror", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" }, { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
END
}
dies() { kill -9 "$(pid_of)"; }
state_is() { ubd-compose list | grep -q "^vol0 .* $1\$"; }
disk=/dev/$disk0
mkdir -p mnt

if [ "$DRIVER" = ublk ]; then
	tree reissue 1
	sed -i 's/"reissue"/"reissue", "recovery_timeout": 5/' tree.json
	expect 'a time limit is refused by name' 1 \
		"$(ubd-compose create tree.json 2>&1 | grep -c 'recovery_timeout needs driver "ubd": .* (tree.json:1, /device/recovery_timeout)$')"
fi

tree reissue 120
ubd-compose create tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
mkfs.ext4 -q $disk
mount $disk mnt
echo precious >mnt/before && sync
dies
within 'the list says that it waits' 10 state_is waiting

{ echo more >mnt/meanwhile && sync mnt/meanwhile; } &
writer=$!
expect 'create refuses to make another of it' 1 "$(ubd-compose create tree.json 2>&1 | grep -c 'waits for another')"
expect 'delete refuses while it is mounted' 1 "$(ubd-compose delete vol0 2>&1 | grep -c 'in use and stays')"
rm tree.json
expect 'recover needs no document' $disk "$(ubd-compose recover vol0 2>recover.err)"
expect 'and says that it was an unclean stop' 1 "$(grep -c 'not stopped cleanly' recover.err)"
wait $writer || fail 'what waited failed'
ok 'what waited is done'
echo 3 >/proc/sys/vm/drop_caches
expect 'all is there' 'precious more' "$(cat mnt/before mnt/meanwhile | tr '\n' ' ' | sed 's/ $//')"

fio --name=load --ioengine=io_uring --directory=mnt --size=10m --numjobs=2 --iodepth=16 --rw=randwrite --bsrange=4k-64k \
	--blockalign=4k --fsync=64 --loops=4 --verify=crc32c --verify_fatal=1 --minimal >fio.out 2>&1 &
loader=$!
for cycle in $(seq 12); do
	if [ $((cycle % 3)) = 0 ] && is_old_ublk; then
		ubd-compose recover vol0 >/dev/null 2>recover.err && fail 'a living daemon was replaced'
		grep -q '^ubd-compose: driver "ublk" takes a disk from a living daemon from Linux 6.16 on; ' recover.err || fail "it says: $(cat recover.err)"
	elif [ $((cycle % 3)) = 0 ]; then
		ubd-compose recover vol0 >/dev/null 2>recover.err || fail "upgrade $cycle: $(cat recover.err)"
		! grep 'not stopped cleanly' recover.err || fail 'an upgrade is no unclean stop'
	else
		dies
		ubd-compose recover vol0 >/dev/null 2>recover.err || fail "recover $cycle: $(cat recover.err)"
	fi
done
wait $loader || fail "fio: $(cat fio.out)"
ok 'twelve daemons later, fio has seen pauses only'
umount mnt
e2fsck -f -n $disk >fsck.out 2>&1 || fail "e2fsck: $(cat fsck.out)"
! dmesg | grep -E 'I/O error|EXT4-fs (error|warning)' || fail 'errors in the log'
ok 'nor has the file system'
no_hung_tasks

# Nobody comes in time.
ubd-compose delete vol0
if [ "$DRIVER" = ubd ]; then
	tree fail 2
	ubd-compose create tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
	dies
	started=$(cut -d. -f1 /proc/uptime)
	within 'the disk goes when nobody comes' $((4 + 2 * patience)) sh -c "! test -e /sys/block/$disk0"
	[ $(($(cut -d. -f1 /proc/uptime) - started)) -ge 1 ] || fail 'too early'
	expect 'recover says so' 1 "$(ubd-compose recover vol0 2>&1 | grep -c 'does not wait for a daemon')"
	expect 'the daemon is dead' 1 "$(ubd-compose list | grep -c '^vol0 .* dead$')"
	expect 'create makes it again' $disk "$(ubd-compose create tree.json 2>/dev/null)"
	ubd-compose delete vol0
fi

# A leaf that is gone: refused, and the disk waits on; then it is taken away.
tree fail 100
ubd-compose create tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
dies
wipefs -q -a -f /dev/vda 2>/dev/null || dd if=/dev/zero of=/dev/vda bs=1M count=4 2>/dev/null
dd if=/dev/zero of=/dev/vda bs=1M count=4 conv=notrunc 2>/dev/null
refuses 'a leaf without its label is not taken' ubd-compose recover vol0 2>/dev/null
expect 'the disk waits on' 1 "$(ubd-compose list | grep -c '^vol0 .* waiting$')"
expect 'degraded it goes on' $disk "$(ubd-compose recover --degraded --prefer=d1 vol0 2>recover.err)" || fail "$(cat recover.err)"
dies
within 'it waits again' 10 state_is waiting
ubd-compose delete vol0 2>/dev/null
expect 'delete takes away what waits' "$control_node" "$(driver_nodes)"
expect 'and its name' '' "$(ubd-compose list)"

# Without recovery nothing waits, and recover says so.
cat >plain.json <<'END'
{ "format": 1, "name": "vol1", "root": { "type": "block", "path": "/dev/vdb", "label": false } }
END
ubd-compose create --force plain.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
expect 'recover needs "recovery"' 1 "$(ubd-compose recover vol1 2>&1 | grep -c 'has no "recovery"')"
ubd-compose delete vol1
expect 'recover needs a device' 1 "$(ubd-compose recover vol7 2>&1 | grep -c 'there is no device "vol7"')"
unload_driver
ok 'the module unloads'
