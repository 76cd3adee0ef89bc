# vm: -k any -d 64M
# drivers: ubd ublk
# `delete` refuses a device in use, whoever uses it, and names the holder; then the device still works.
. ./guest.sh

load_driver
modprobe loop
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "root": { "id": "d0", "type": "block", "path": "/dev/vda" } }
END
disk=$(ubd-compose create tree.json 2>/dev/null)

# refused WHAT LINE: the second line of the message is this (a pattern)
refused() {
	status=0
	ubd-compose delete vol0 >out 2>err || status=$?
	expect "$1: status" 1 "$status"
	expect "$1: told" 'ubd-compose: vol0 is in use and stays as it is' "$(sed -n 1p err)"
	sed -n '2,$p' err | grep -qE "^ubd-compose: $2\$" || fail "$1: $(cat err)"
	ok "$1: the holder is named"
	[ ! -s out ] || fail "$1: $(cat out)"
	dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || fail "$1: the disk is gone"
}

mkfs.ext4 -q "$disk"
mkdir '/mnt/a dir'
mount "$disk" '/mnt/a dir'
refused 'mounted' "$disk is mounted at /mnt/a dir \(ext4\)"
umount '/mnt/a dir'

# shellcheck disable=SC2016 # for the other shell
unshare -m --propagation private sh -c 'mount "$1" "/mnt/a dir" && touch mounted && exec sleep 100' sh "$disk" &
other=$!
within 'the other namespace has it mounted' 5 test -e mounted
refused 'mounted elsewhere' "$disk is mounted at /mnt/a dir \(ext4\) for process [0-9]+, in a mount namespace of its own"
kill "$other"
wait "$other" || true

if [ -e /proc/swaps ]; then # the debug kernel has none
	mkswap "$disk" >/dev/null
	swapon "$disk"
	refused 'swap' "$disk is in use as swap"
	swapoff "$disk"
fi

dmsetup create thing --table "0 2048 linear $disk 0"
refused 'under device-mapper' "$disk is used by dm-[0-9]+ \(device-mapper: thing\)"
dmsetup remove thing

loop=$(losetup --find --show "$disk")
refused 'under a loop device' "$disk is used by ${loop#/dev/}"
losetup -d "$loop"
within 'the loop device lets go' 5 sh -c "! grep -q ${disk0%0} /sys/block/${loop#/dev/}/loop/backing_file 2>/dev/null"

# shellcheck disable=SC2217 # it only has it open
sleep 100 <"$disk" &
refused 'open' "$disk is open in process $! \(sleep\)"
kill $!
wait $! || true

# shellcheck disable=SC2217 # likewise
sleep 1 <"$disk" &
ubd-compose delete vol0 || fail 'delete does not wait for one who looks shortly'
ok 'one who looks shortly is waited for'
no_hung_tasks 'nothing hangs'
