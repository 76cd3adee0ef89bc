# vm: -k all -t 60 -f tests/vm/driver/recover.sh
# The disk's size changes while it is in use; sizes that can't be are refused.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
. ./recover.sh
modprobe ubd
update() { ubd_control 0 0x14 "$1"; }
sectors() { cat /sys/block/ubdb0/size; }

expect 'a device that is not there has no size' -19 "$(update 65536)"
serve -s 64
expect 'it begins with 64 MiB' 131072 "$(sectors)"
exec 3</dev/ubdb0
expect 'smaller' 0 "$(update 65536)"
expect 'the disk is' 65536 "$(sectors)"
expect 'nothing is read there' 0 "$(dd if=/dev/ubdb0 bs=4k count=1 skip=8192 iflag=direct 2>/dev/null | wc -c)"
expect 'larger' 0 "$(update 131072)"
expect 'the disk is' 131072 "$(sectors)"
expect 'all is read' 4096 "$(dd if=/dev/ubdb0 bs=4k count=1 skip=16383 iflag=direct 2>/dev/null | wc -c)"
expect 'who watches is told' 2 "$(dmesg | grep -c 'ubdb0: detected capacity change')"
expect 'no size is refused' -22 "$(update 0)"
expect 'more than there are bytes is refused' -22 "$(update 0x7fffffffffffffff)"
exec 3<&-
dies
expect 'also while it waits' 0 "$(update 98304)"
serve -r 0
expect 'the next server finds the size' 98304 "$(sectors)"
deletes

v2_server >v2.served &
within 'a V2 server starts' 10 test -s v2.served
expect "a V2 server's disk keeps its size" -95 "$(update 65536)"
expect 'there is nothing to resume' -95 "$(ubd_control 0 0x15 1)"
expect 'nor to hand over' -95 "$(ubd_control 0 0x16 1000)"
