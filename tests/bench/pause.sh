#!/bin/sh
# How long requests wait for a snapshot of a live thin, with fio's 4k random reads and writes at depth 32 beside; for images of
# which all is mapped, so that the small and the large differ in how much there is to copy. In a guest:
#   tests/vm/run -k 6.12 -m 1536 -d 3G -t 900 -f tests/bench/pause.sh sh pause.sh
# Prints a line for each snapshot: the image's size, the pause in milliseconds and in sub-I/Os, and seconds for all of it.
set -eu
modprobe ubd
mkfs.ext4 -q /dev/vda
mkdir /legs
mount /dev/vda /legs
cd /legs

measure() { # SIZE
	qemu-img create -q -f qcow2 -o preallocation=metadata volume.qcow2 "$1"
	echo '{"format":1,"name":"v0","root":{"type":"thin","data":{"type":"file","path":"volume.qcow2"}}}' >tree.json
	device=$(ubd-compose create tree.json)
	fio --name=load --filename="$device" --size=128M --rw=randrw --bs=4k --iodepth=32 --ioengine=io_uring --direct=1 \
		--time_based --runtime=3600 >fio.out 2>&1 &
	load=$!
	stat=/sys/block/${device##*/}/stat
	for name in 1 2 3 4 5 6; do
		before=$(awk '{ print $5 }' "$stat")
		until [ "$(awk '{ print $5 }' "$stat")" -gt $((before + 2000)) ]; do sleep 0.1; done
		began=$(cut -d ' ' -f 1 /proc/uptime)
		said=$(ubd-compose snapshot create v0 "s$name")
		ended=$(cut -d ' ' -f 1 /proc/uptime)
		echo "$1 $said" "$(echo "$ended $began" | awk '{ printf "(%.1f s)", $1 - $2 }')"
	done
	kill "$load"
	wait "$load" || true
	ubd-compose delete v0
	qemu-img check -q volume.qcow2
	rm volume.qcow2
}

measure 256M
measure 64G
