#!/bin/sh
# Runs in the guest: measures the peers and ourselves on the same four memory disks. Prints a line for each: name, then nanoseconds
# per I/O for each column of tests/bench/run, separated by tabs; in instruction-count mode those are instructions.
# guest.sh --thin: thin volumes alone, ours and dm's: 64k as first write, and again; 4k on what is allocated.
# guest.sh [-r ROUNDS] LOAD...: the columns, each the words `kind block depth`, with -1 before them where each I/O is submitted by
# itself. -r: a choice of the rows, in turn, so often, ours with a queue for each processor.
set -eu
rounds=0
if [ "$1" = -r ]; then
	rounds=$2
	shift 2
fi
loads=$(printf '%s\n' "$@")

SMALL=6000 LARGE=600 LEG_MIB=128 THIN_MIB=96
STRIPE_SECTORS=$((LEG_MIB * 2048 * 4)) LEG_SECTORS=$((LEG_MIB * 2048))

# Every page of a leg exists before it is measured, and holds no one's metadata.
fill() {
	for leg in 0 1 2 3; do dd if=/dev/zero of=/dev/ram$leg bs=1M count=$LEG_MIB oflag=direct 2>/dev/null; done
}

measure() {
	name=$1 device=$2 line=$1
	sleep 2 # what the kernel still does by itself after a boot or a change of devices is not the device's cost
	while read -r load; do
		case $load in *1024k*) count=$((LARGE / 8)) ;; *128k*) count=$LARGE ;; *) count=$SMALL ;; esac
		option=''
		case $load in -1*) option=-1 load=${load#-1 } ;; esac
		# shellcheck disable=SC2086 # three words, and one or none
		line="$line	$(load $option "$device" $load $count)" || { echo "bench: $name: $load failed" >&2; return 1; }
	done <<-EOF
		$loads
	EOF
	echo "$line"
}

measure_dm() {
	dmsetup create bench --table "$2"
	measure "$1" /dev/mapper/bench
	dmsetup remove bench
}

# As tests/bench/trees/thin.json, with 64 KiB clusters; its metadata on a disk of its own.
dm_thin() {
	dd if=/dev/zero of=/dev/ram1 bs=4k count=1 oflag=direct 2>/dev/null # else it is taken for metadata
	dmsetup create pool --table "0 $LEG_SECTORS thin-pool /dev/ram1 /dev/ram0 128 0"
	dmsetup message pool 0 'create_thin 0'
	dmsetup create bench --table "0 $((THIN_MIB * 2048)) thin /dev/mapper/pool 0"
}

dm_thin_end() {
	dmsetup remove bench
	dmsetup remove pool
	fill
}

allocate() { dd if=/dev/zero of="$1" bs=1M count=$THIN_MIB oflag=direct 2>/dev/null || true; }

measure_dm_thin() {
	modprobe dm-thin-pool 2>/dev/null || { echo 'bench: no row of dm-thin: this kernel has no such module' >&2; return 0; }
	dm_thin
	allocate /dev/mapper/bench
	measure 'dm-thin, allocated' /dev/mapper/bench
	dm_thin_end
}

# Each cluster once, and once more.
measure_first() {
	sleep 2
	line="$1	$(load "$2" write 64k 32 1300)	$(load "$2" write 64k 32 1300)"
	line="$line	$(load "$2" randread 4k 32 $SMALL)	$(load "$2" randwrite 4k 32 $SMALL)"
	echo "$line"
}

# QEMU's own: its storage daemon, which is a virtio disk's other side (VDUSE), with one queue and past the page cache.
measure_qemu() {
	[ -d qemu ] || { echo 'bench: no row of qemu-storage-daemon: tests/bench/run says why' >&2; return 0; }
	modprobe virtio_blk
	for module in vhost_iotlb vdpa vduse virtio_vdpa; do insmod qemu/$module.ko; done
	qemu-img create -q -f qcow2 /dev/ram0 ${THIN_MIB}M
	LD_LIBRARY_PATH=$PWD/qemu qemu/qemu-storage-daemon \
		--blockdev driver=host_device,node-name=leg,filename=/dev/ram0,cache.direct=on,aio=io_uring \
		--blockdev driver=qcow2,node-name=image,file=leg,cache.direct=on,discard=unmap \
		--export vduse-blk,id=export,node-name=image,name=image,writable=on,num-queues=1,queue-size=128 &
	server=$!
	tries=0
	until [ -e /dev/vduse/image ] || [ $((tries += 1)) = 100 ]; do sleep 0.1; done
	LD_LIBRARY_PATH=$PWD/qemu qemu/vdpa dev add name image mgmtdev vduse
	until [ -e /dev/vda ] || [ $((tries += 1)) = 200 ]; do sleep 0.1; done
	measure_first "QEMU's qcow2, vduse" /dev/vda
	LD_LIBRARY_PATH=$PWD/qemu qemu/vdpa dev del image
	kill $server
	wait $server || true
	fill
}

measure_thins() {
	if modprobe dm-thin-pool 2>/dev/null; then
		dm_thin
		measure_first dm-thin /dev/mapper/bench
		dm_thin_end
	fi
	measure_qemu
	for driver in ubd ublk; do
		module=$driver
		[ $driver = ubd ] || module=ublk_drv
		modprobe $module 2>/dev/null || continue
		sed "s/\"fan_out\"/\"driver\": \"$driver\", &/" thin.json >/tmp/thin.json
		device=$(ubd-compose create /tmp/thin.json)
		measure_first "$driver thin, auto" "$device"
		ubd-compose delete thin
		fill
	done
}

measure_md() {
	name=$1
	shift
	mdadm --quiet --create /dev/md0 --run --assume-clean "$@"
	measure "$name" /dev/md0
	mdadm --quiet --stop /dev/md0
	fill
}

# measure_tree TREE NAME FAN_OUT DRIVER: ours. What cannot be created (a mode that the driver lacks) is left out, and said so.
measure_tree() {
	sed "s/\"fan_out\": \"[a-z]*\"/\"driver\": \"$4\", \"queues\": $queues, \"fan_out\": \"$3\"/" "$1.json" >"/tmp/$1.json"
	tries=0
	until device=$(ubd-compose create "/tmp/$1.json" 2>/tmp/error) || [ $((tries += 1)) = 20 ]; do
		sleep 0.1 # the last device's legs may be held a little longer than its daemon lives
	done
	if [ $tries != 20 ]; then
		# What is measured of a thin is what is allocated.
		[ "$1" != thin ] || allocate "$device"
		measure "$4 $2, $3" "$device"
		ubd-compose delete "$1"
		[ "$1" = files ] || fill
	else
		echo "bench: $4 $2, $3 is left out: $(head -n 1 /tmp/error)" >&2
	fi
}

# Ours over one file on each leg: as the loop device, with direct I/O, whatever the fan-out. ext4 has nothing left to do by itself
# meanwhile: no tables to fill with zeroes, no commit every five seconds.
measure_files() {
	for leg in 0 1 2 3; do
		mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 /dev/ram$leg
		mkdir -p /mnt/$leg
		mount -o noatime,commit=3600 /dev/ram$leg /mnt/$leg
		fallocate -l $((LEG_MIB - 28))M /mnt/$leg/file
		dd if=/dev/zero of=/mnt/$leg/file bs=1M count=$((LEG_MIB - 28)) oflag=direct conv=notrunc 2>/dev/null
	done
	loop=$(losetup --find --show --direct-io=on /mnt/0/file)
	measure 'loop, direct I/O, on ext4' "$loop"
	losetup --detach "$loop"
	for fan_out in gathered passthrough; do measure_tree files 'stripe ×4 on ext4' $fan_out ubd; done
	umount /mnt/[0-3]
}

measure_loop() {
	loop=$(losetup --find --show --direct-io=on /dev/ram0)
	measure 'loop, direct I/O' "$loop"
	losetup --detach "$loop"
}

# measure_peer NAME: one of the kernel's own.
measure_peer() {
	case $1 in
	'raw leg') measure "$1" /dev/ram0 ;;
	dm-linear) measure_dm "$1" "0 $LEG_SECTORS linear /dev/ram0 0" ;;
	'dm-stripe ×4') measure_dm "$1" "0 $STRIPE_SECTORS striped 4 128 /dev/ram0 0 /dev/ram1 0 /dev/ram2 0 /dev/ram3 0" ;;
	'dm-raid raid1 ×2')
		measure_dm "$1" "0 $LEG_SECTORS raid raid1 2 0 nosync 2 - /dev/ram0 - /dev/ram1"
		;;
	'md raid0 ×4') measure_md "$1" --level=0 --chunk=64 --raid-devices=4 /dev/ram0 /dev/ram1 /dev/ram2 /dev/ram3 ;;
	'md raid1 ×2, no bitmap') measure_md "$1" --level=1 --bitmap=none --raid-devices=2 /dev/ram0 /dev/ram1 ;;
	'md raid10 ×4')
		measure_md "$1" --level=10 --bitmap=none --chunk=64 --raid-devices=4 /dev/ram0 /dev/ram1 /dev/ram2 /dev/ram3
		;;
	dm-thin) measure_dm_thin ;;
	'loop, direct I/O') measure_loop ;;
	esac
}

# What a user chooses between, in turn: so that what the host does meanwhile falls on all.
measure_in_turn() {
	for driver in ubd ublk_drv; do modprobe $driver 2>/dev/null || echo "bench: no rows of $driver: this kernel has no such module" >&2; done
	for _ in $(seq "$rounds"); do
		for peer in 'raw leg' 'dm-stripe ×4' 'md raid1 ×2, no bitmap' 'loop, direct I/O'; do measure_peer "$peer"; done
		for fan_out in gathered passthrough; do measure_tree stripe 'stripe ×4' $fan_out ubd; done
		measure_tree mirror 'mirror ×2' passthrough ubd
		[ ! -e /dev/ublk-control ] || measure_tree stripe 'stripe ×4' auto ublk
	done
}

modprobe brd rd_nr=4 rd_size=$((LEG_MIB * 1024)) max_part=0
fill
if [ "$1" = --thin ]; then
	measure_thins
	exit 0
fi
queues=1
if [ "$rounds" != 0 ]; then
	queues=$(nproc)
	measure_in_turn
	exit 0
fi
for peer in 'raw leg' dm-linear 'dm-stripe ×4' 'md raid0 ×4' 'md raid1 ×2, no bitmap' 'md raid10 ×4' 'dm-raid raid1 ×2' dm-thin 'loop, direct I/O'; do
	measure_peer "$peer"
done

if [ ! -x /usr/local/bin/ubd-compose ]; then
	echo 'bench: no rows of ours: ubd-compose is not built' >&2
	exit 0
fi
for driver in ubd ublk; do
	module=$driver
	[ $driver = ubd ] || module=ublk_drv
	modprobe $module 2>/dev/null || { echo "bench: no rows of $driver: this kernel has no such module" >&2; continue; }
	for fan_out in linked gathered passthrough; do
		measure_tree linear linear $fan_out $driver
		measure_tree stripe 'stripe ×4' $fan_out $driver
		measure_tree mirror 'mirror ×2' $fan_out $driver
		[ $fan_out = linked ] || measure_tree thin 'thin, allocated' $fan_out $driver
	done
	[ $driver != ubd ] || measure_files
done
