# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k 6.12 -d 1200M -t 300
# drivers: ubd ublk
# A device on an image whose bytes are in an external data file, raw or not: under load, its daemon killed, served again. QEMU reads what
# was written, and a raw data file alone is the device.
. ./guest.sh

load_driver
make_legs
cd /legs
cat >tree.json <<END
{ "format": 1, "name": "v0", "device": { "driver": "$DRIVER" }, "root": { "type": "thin",
    "data": { "type": "file", "path": "volume.qcow2" }, "data_file": { "type": "file", "path": "bytes" } } }
END
verified() {
	fio --name=v --filename="$device" --allow_file_create=0 --rw=randrw --bsrange=4k-128k --offset=48M --size=8M --iodepth=16 \
		--ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "fio: $(cat fio.out)"
}
# create WHAT: as soon as the dead one has let go of its leaves
create() {
	within "$1" 30 created
	device=$(cat out)
}
created() { ubd-compose create tree.json >out 2>err; }

for raw in off on; do
	rm -f bytes volume.qcow2 all
	qemu-img create -q -f qcow2 -o data_file=bytes,data_file_raw=$raw volume.qcow2 64M
	create "raw $raw: it is served"
	mkfs.ext4 -q "$device" 40M
	mkdir -p /mnt
	mount "$device" /mnt
	dd if=/dev/urandom of=/mnt/a bs=64k count=200 2>/dev/null
	sync
	md5sum /mnt/a >sums
	verified
	kill -9 "$(pid_of v0)"
	umount /mnt 2>/dev/null || umount -l /mnt
	status=0
	qemu-img check -q volume.qcow2 >check.out 2>&1 || status=$?
	case $status in 0 | 3) ok "raw $raw: after a kill qemu-img finds lost clusters at most" ;; *) fail "check: $(cat check.out)" ;; esac
	create "raw $raw: it is served again"
	mount "$device" /mnt
	md5sum -c sums >/dev/null || fail "raw $raw: a file has changed"
	rm /mnt/a
	sync
	fstrim /mnt || true # or not at all, where the leg has no discard
	umount /mnt
	verified
	dd if="$device" of=all bs=1M iflag=direct 2>/dev/null
	ubd-compose delete v0
	qemu-img check -q volume.qcow2 >check.out 2>&1 || fail "raw $raw: check: $(cat check.out)"
	qemu-img compare -q -f qcow2 -F raw volume.qcow2 all || fail "raw $raw: QEMU reads something else"
	ok "raw $raw: qemu-img finds no fault and the same bytes"
	[ $raw = off ] || cmp bytes all || fail 'a raw data file is not the device'
done
no_hung_tasks
