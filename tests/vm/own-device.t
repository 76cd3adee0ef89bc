# shellcheck shell=sh
# vm: -k any -d 64M -t 120
# drivers: ubd ublk
# Our own device, or what is on it, is no leaf; and a tree whose device is live is left alone.
. ./guest.sh

# tree NAME TYPE PATH [MEMBERS]
tree() {
	echo "{ \"format\": 1, \"name\": \"$1\",
\"root\": { \"id\": \"d0\", \"type\": \"$2\", \"path\": \"$3\"${4-} } }" >"$1.json"
}

# refused WHAT WORDS COMMAND...: fails with these words among its messages.
refused() {
	_what=$1 _words=$2
	shift 2
	refuses "$_what" "$@" >out 2>err
	grep -qF "$_words" err || fail "$_what: '$_words' is not in: $(cat err)"
	ok "$_what"
}

load_driver
tree below block /dev/vda
device=$(ubd-compose create below.json)
tree above block "$device"
refused 'a device of ours as a leaf' "$device is a device of ubd-compose" ubd-compose create --force above.json
refused 'and so says check' "a device of ubd-compose" ubd-compose check above.json
tree other block /dev/vda
refused 'the same under another name' "/dev/vda is" ubd-compose create --force other.json

mkfs.ext4 -q "$device"
mkdir -p /mnt/own
mount "$device" /mnt/own
tree file file /mnt/own/x.img ', "size": "16MiB"'
refused 'a file on a device of ours' "/mnt/own/x.img is on $device" ubd-compose create file.json
[ ! -e /mnt/own/x.img ] || fail 'the refused file was made'
truncate -s 32M /mnt/own/y.img
loop=$(losetup -f --show /mnt/own/y.img)
tree loop block "$loop"
refused 'a loop device over a file on a device of ours' "a device of ubd-compose" ubd-compose create loop.json
losetup -d "$loop"
umount /mnt/own
ubd-compose delete below
ubd-compose create below.json >/dev/null
mount "$device" /mnt/own
umount /mnt/own
ubd-compose delete below
