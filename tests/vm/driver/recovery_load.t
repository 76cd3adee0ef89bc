# vm: -k all -t 300 -m 1024 -f tests/vm/driver/recover.sh
# Servers are killed and replaced, again and again, under a file system and under a full queue: nothing that was
# acknowledged is lost, nobody sees more than a pause. A server that hands over fails nothing, even where a dead one would.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./recover.sh
modprobe ubd
disk=/dev/ubdb0
mkdir -p mnt

# load OPTION...: fio writes for as long as `loading` is there, then verifies; its status in fio.status.
load() {
	rm -f fio.status
	{
		fio --name=load --ioengine=io_uring --rw=randwrite --bsrange=4k-64k --blockalign=4k --verify=crc32c --verify_fatal=1 \
			--verify_backlog=64 --minimal "$@" >fio.out 2>&1 && echo 0 >fio.status || echo $? >fio.status
	} &
	loader=$!
}
loaded() {
	wait $loader || true
	expect "$1" 0 "$(cat fio.status)" || fail "$(cat fio.out)"
}

serve -q 2 -d 64 -s 64 -M 60000
mkfs.ext4 -q -E nodiscard $disk
mount $disk mnt
cycles=0
load --directory=mnt --size=12m --numjobs=2 --iodepth=16 --loops=4 --fsync=32
while [ ! -e fio.status ] || [ $cycles -lt 10 ]; do
	sleep 0.$((cycles * 7 % 5))
	dies
	serve -r 0
	cycles=$((cycles + 1))
done
loaded "ext4 on it saw pauses only, in $cycles kills"
umount mnt
e2fsck -f -n $disk >fsck.out 2>&1 || fail "e2fsck: $(cat fsck.out)"
ok "e2fsck finds nothing"
! dmesg | grep -E 'I/O error|EXT4-fs (error|warning)' || fail "an error in the log"
ok "no I/O error in the log"

cycles=0
load --filename=$disk --direct=1 --size=24m --numjobs=2 --offset_increment=24m --iodepth=64 --loops=2
while [ ! -e fio.status ] || [ $cycles -lt 10 ]; do
	sleep 0.$((cycles * 7 % 5))
	dies
	serve -r 0
	cycles=$((cycles + 1))
done
loaded "full queues saw pauses only, in $cycles kills"
deletes

cycles=0
serve -f -q 2 -d 64 -s 64 -M 60000 -m other.bytes
load --filename=$disk --direct=1 --size=24m --numjobs=2 --offset_increment=24m --iodepth=64 --loops=2
while [ ! -e fio.status ] || [ $cycles -lt 10 ]; do
	sleep 0.$((cycles * 7 % 5))
	hands_over
	serve -r 0 -m other.bytes
	cycles=$((cycles + 1))
done
loaded "$cycles servers handed over, and nothing failed"

# A server that can't: it goes on as if nothing had been.
deletes
serve -f -h 1 -H 500
dd if=$disk of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
reader=$!
within "the server keeps a request" 10 held_by_server 1
kill $server
within "it can't hand over in time" 10 grep -qx 'hand over: -110' served
dies
refuses "its request fails when it dies" wait $reader
serve -r 0 -H 500
dd if=$disk of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || fail "the next server doesn't serve"
ok "the next server serves"
deletes
no_hung_tasks "nothing hangs"
rmmod ubd
ok "the module unloads"
