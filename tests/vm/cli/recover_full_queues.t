# vm: -k all -d 48M -d 48M -t 240
# drivers: ubd ublk
# Daemons are killed while the driver itself has sub-I/Os under way, or leaves have: nothing acknowledged is lost.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

load_driver
disk=/dev/$disk0
fan_outs='passthrough gathered linked' patience_key=', "recovery_timeout": 100'
[ "$DRIVER" = ubd ] || patience_key='' # ublk lets a disk wait for ever
! is_old_ublk || fan_outs='gathered linked'

for fan_out in $fan_outs; do
	cat >tree.json <<END
{ "format": 1, "name": "vol0",
  "device": { "queues": 2, "queue_depth": 64, "recovery": "reissue"$patience_key, "fan_out": "$fan_out" },
  "root": { "type": "stripe", "chunk_size": "64KiB", "children": [
    { "type": "block", "path": "/dev/vda" }, { "type": "block", "path": "/dev/vdb" } ] } }
END
	ubd-compose create --force tree.json >/dev/null 2>create.err || fail "create: $(cat create.err)"
	rm -f fio.status
	{
		fio --name=load --ioengine=io_uring --filename=$disk --direct=1 --size=16m --numjobs=2 --offset_increment=16m --iodepth=64 \
			--rw=randwrite --bsrange=4k-128k --blockalign=4k --loops=2 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
			--minimal >fio.out 2>&1 && echo 0 >fio.status || echo $? >fio.status
	} &
	loader=$!
	cycles=0
	while [ ! -e fio.status ] || [ $cycles -lt 6 ]; do
		sleep 0.$((cycles * 7 % 5))
		if [ $((cycles % 4)) != 3 ] || is_old_ublk; then
			kill -9 "$(pid_of)"
		fi
		ubd-compose recover vol0 >/dev/null 2>recover.err || fail "recover $cycles: $(cat recover.err)"
		cycles=$((cycles + 1))
	done
	wait $loader || true
	expect "$fan_out: fio saw pauses only, with $cycles daemons" 0 "$(cat fio.status)" || fail "$(cat fio.out)"
	ubd-compose delete vol0
done
! dmesg | grep 'I/O error' || fail 'errors in the log'
no_hung_tasks
unload_driver
ok 'the module unloads'
