#!/bin/sh
# How long requests wait for a snapshot of a live thin that is made or deleted, with fio's 4k random reads and writes at depth 32
# beside, and for the device's going back to one (which nobody may use then: nothing waits but the switch itself); for images of
# which all is mapped, so that the small and the large differ in how much there is to copy. fio's part of the device is small, as
# what six snapshots keep of it has to fit into the image. In a guest:
#   tests/vm/run -k 6.12 -m 1536 -d 3G -t 900 -f tests/bench/pause.sh sh pause.sh
# Prints a line for each: the image's size, the pause in milliseconds and in sub-I/Os, and seconds for all of it.
set -eu
modprobe ubd
mkfs.ext4 -q /dev/vda
mkdir /legs
mount /dev/vda /legs
cd /legs

timed() { # SIZE VERB SNAPSHOT
	began=$(cut -d ' ' -f 1 /proc/uptime)
	said=$(ubd-compose snapshot "$2" v0 "$3")
	ended=$(cut -d ' ' -f 1 /proc/uptime)
	echo "$1 $2 $said" "$(echo "$ended $began" | awk '{ printf "(%.1f s)", $1 - $2 }')"
}

loaded() { # VERB: six of them, one after the other, while fio writes
	for name in 1 2 3 4 5 6; do
		before=$(awk '{ print $5 }' "$stat")
		until [ "$(awk '{ print $5 }' "$stat")" -gt $((before + 2000)) ]; do
			kill -0 "$load" || { cat fio.out; exit 1; }
			sleep 0.1
		done
		timed "$size" "$1" "s$name"
	done
}

load_begins() {
	fio --name=load --filename="$device" --size=64M --rw=randrw --bs=4k --iodepth=32 --ioengine=io_uring --direct=1 \
		--time_based --runtime=3600 >fio.out 2>&1 &
	load=$!
}

load_ends() {
	kill "$load"
	wait "$load" || true
}

measure() { # SIZE
	size=$1
	qemu-img create -q -f qcow2 -o preallocation=metadata volume.qcow2 "$size"
	echo '{"format":1,"name":"v0","root":{"type":"thin","data":{"type":"file","path":"volume.qcow2"}}}' >tree.json
	device=$(ubd-compose create tree.json)
	load_begins
	stat=/sys/block/${device##*/}/stat
	loaded create
	load_ends
	for name in 1 6 3; do
		timed "$size" revert "s$name"
	done
	load_begins
	loaded delete
	load_ends
	ubd-compose delete v0
	qemu-img check -q volume.qcow2
	rm volume.qcow2
}

measure 256M
measure 64G
