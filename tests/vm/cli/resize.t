# vm: -k any -d 192M -t 240
# drivers: ubd ublk
# Disks that are in use become larger: their leaves did, or they are thins and get another size. No request fails.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

load_driver
disk=/dev/$disk0
mkfs.ext4 -q /dev/vda
mkdir -p leaves mnt
mount /dev/vda leaves
mib=1048576

# The tree of two files without a size; FILE SIZE makes one.
tree() {
	cat >tree.json <<END
{ "format": 1, "name": "vol0", "device": { "recovery": "reissue" },
  "root": { "id": "m0", "type": "mirror", "children": [
    { "id": "d0", "type": "file", "path": "leaves/a" }, { "id": "d1", "type": "file", "path": "leaves/b" } ] } }
END
}
size() { echo $(($(cat /sys/block/$disk0/size) * 512)); }
refused() { ubd-compose resize "$@" 2>&1 >/dev/null | grep -v '^ubd-compose: .* was not stopped cleanly'; }

truncate -s $((32 * mib)) leaves/a leaves/b
tree
sed 's/"recovery": "reissue"//' tree.json >plain.json
ubd-compose create plain.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
expect 'a disk that goes with its daemon keeps its size' 1 "$(refused vol0 | grep -c '^ubd-compose: vol0 has no "recovery" ')"
ubd-compose delete vol0
ubd-compose create tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
small=$(size)
mkfs.ext4 -q $disk
mount $disk mnt
if is_old_ublk; then
	truncate -s $((48 * mib)) leaves/a leaves/b
	expect 'an older ublk is told so' 1 "$(refused vol0 | grep -c '^ubd-compose: driver "ublk" takes a disk from a living daemon from Linux 6.16 on; ')"
	umount mnt
	ubd-compose delete vol0
	expect 'what is larger is not used unasked' "$small" "$(ubd-compose create tree.json >/dev/null 2>&1; size)"
	ubd-compose delete vol0
	expect 'when it is made again it is' $((small + 16 * mib)) "$(ubd-compose create --grow tree.json >/dev/null 2>&1; size)"
	ubd-compose delete vol0
	exit 0
fi

fio --name=load --ioengine=io_uring --directory=mnt --size=8m --iodepth=16 --rw=randwrite --bsrange=4k-64k --blockalign=4k \
	--time_based --runtime=600 --verify=crc32c --verify_fatal=1 --minimal >fio.out 2>&1 &
loader=$!
within 'the load runs' 60 sh -c "test -e mnt/load.0.0"
expect 'leaves that are as they were change nothing' "$disk $small" "$(ubd-compose resize vol0 2>resize.err) $(size)"
truncate -s $((40 * mib)) leaves/a
expect 'nor does one longer leg alone' "$disk $small" "$(ubd-compose resize vol0 2>resize.err) $(size)"
truncate -s $((48 * mib)) leaves/a leaves/b
expect 'when both are longer' $disk "$(ubd-compose resize vol0 2>resize.err)"
expect 'the disk is as much larger' $((small + 16 * mib)) "$(size)"
expect 'and it is said which leaf grew' 1 "$(grep -c 'd1: .*/leaves/b grows from ' resize.err)"
resize2fs $disk >resize2fs.out 2>&1 || fail "resize2fs: $(cat resize2fs.out)"
kill -0 $loader || fail "the load has ended: $(cat fio.out)"
kill -INT $loader
wait $loader || grep -q '^[^;]*;[^;]*;[^;]*;[^;]*;0;' fio.out || fail "fio: $(cat fio.out)"
ok 'no request has failed meanwhile'
dd if=/dev/urandom of=mnt/large bs=1M count=24 2>/dev/null && sync mnt/large
sum=$(sha256sum <mnt/large)
kill -9 "$(pid_of)"
expect 'a daemon that is killed leaves it at that size' "$disk $((small + 16 * mib))" "$(ubd-compose recover vol0 2>/dev/null) $(size)"
echo 3 >/proc/sys/vm/drop_caches
expect 'what was written there is there' "$sum" "$(sha256sum <mnt/large)"
umount mnt
e2fsck -f -n $disk >fsck.out 2>&1 || fail "e2fsck: $(cat fsck.out)"
! dmesg | grep -E 'I/O error|EXT4-fs (error|warning)' || fail 'errors in the log'
ubd-compose delete vol0
rm leaves/a leaves/b

cat >thin.json <<END
{ "format": 1, "name": "vol0", "device": { "recovery": "reissue" },
  "root": { "id": "t0", "type": "thin", "size": "64MiB", "data": { "id": "f0", "type": "file", "path": "leaves/c" } } }
END
ubd-compose create thin.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
mkfs.ext4 -q $disk
mount $disk mnt
echo precious >mnt/before && sync
expect 'a thin gets the size that is asked for' "$disk $((256 * mib))" "$(ubd-compose resize vol0 256M 2>resize.err) $(size)"
resize2fs $disk >resize2fs.out 2>&1 || fail "resize2fs: $(cat resize2fs.out)"
expect 'smaller is refused' "ubd-compose: vol0 has $((256 * mib)) bytes; it can't be made smaller, to $((128 * mib))" "$(refused vol0 128M)"
expect 'what its table has no room for is refused, and it goes on' 'room for; see qemu-img resize is served on as it was' \
	"$(refused vol0 8T | sed "s/.* \(room for; see qemu-img resize\) .*/\1/; s/.* is served on/is served on/" | xargs)"
echo more >mnt/after && sync
umount mnt
e2fsck -f -n $disk >fsck.out 2>&1 || fail "e2fsck: $(cat fsck.out)"
ubd-compose delete vol0
expect 'the image is as large' 1 "$(qemu-img info leaves/c | grep -c "virtual size: .*($((256 * mib)) bytes)")"
qemu-img check -q leaves/c || fail 'qemu-img finds errors'
umount leaves
no_hung_tasks
unload_driver
