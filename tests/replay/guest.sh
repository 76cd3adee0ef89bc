#!/bin/sh
# In the guest: serves guest.json, puts the load on it, and ends without stopping anything: the power goes.
set -eu

modprobe -a virtio_pci virtio_blk ubd
mkdir -p /dev/disk
for disk in /sys/block/vd*; do
	ln -s "/dev/${disk##*/}" "/dev/disk/$(cat "$disk/serial")"
done
device=$(ubd-compose create guest.json)
echo "$(blockdev --getsz "$device") sectors"
./load "$device" /dev/disk/notebook "$1" "$2"
