# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# thin with an external data file: images that qemu-img made are read and written, QEMU reads what we wrote, and what a raw
# data file says alone is the device, in QEMU's life and in ours.
. "$(dirname "$0")/lib.sh"

size=$((3 << 20))

quietly() { "$@" >out 2>&1 || fail "$*: $(cat out)"; }
replay() { # DOCUMENT SCRIPT-LINE...
	_tree=$1
	shift
	printf '%s\n' "$@" | ubd-compose replay "$_tree" - >out 2>err || fail "replay: $(cat out err)"
}
with() { # KEYS DATA-FILE: a document with an image on "image"
	printf '{"format":1,"name":"t","root":{"type":"thin",%s"data":{"type":"file","path":"image"}%s}}\n' "$1" "${2:+,\"data_file\":$2}"
}
judged() {
	quietly qemu-img check image
	grep -q 'No errors were found' out || fail "qemu-img check: $(cat out)"
}
compared() { quietly qemu-img compare -f qcow2 -F raw image raw; }
parts() { # of the device, as one file
	replay tree.json "save 0 524288 p0" "save 524288 524288 p1" "save 1048576 524288 p2" "save 1572864 524288 p3" \
		"save 2097152 524288 p4" "save 2621440 524288 p5"
	cat p0 p1 p2 p3 p4 p5
}

quietly qemu-img create -f raw base $size
dd if=/dev/urandom of=base bs=1000 seek=100 count=300 conv=notrunc 2>/dev/null
quietly qemu-io -f raw -c 'write -P 7 1M 70000' -c 'write -P 9 2M 5k' -c 'write -P 3 2900k 64k' base
with '' '{"type":"file","path":"disk"}' >tree.json
echo '{"format":1,"name":"r","root":{"type":"file","path":"raw","label":false}}' >raw.json

# Small, large, across clusters; over what was zeroed, and what was discarded. The last cluster of 2 MiB is cut short.
writes="write 512 512 1
write 65024 1024 2
write 1000448 200704 3
write 2095104 4096 4 fua
write 3000320 100352 5
flush
write 2162688 65536 6"
over="write 262656 512 7
write 2097152 65536 8 fua
write 3000320 4096 9
write 1048576 524288 4
read 262656 512 7
read 3000320 4096 9"

for options in '' cluster_size=512 cluster_size=2M extended_l2=on extended_l2=on,cluster_size=16384 lazy_refcounts=on \
	refcount_bits=1 data_file_raw=on data_file_raw=on,cluster_size=512 data_file_raw=on,extended_l2=on \
	data_file_raw=on,cluster_size=2M; do
	rm -f image disk
	cp base raw
	case $options in
	*=512) gone="discard 0 524288;discard 524288 524288;discard 1048576 524288;discard 1572864 524288"
		zeroed="zeroes 2097152 524288;zeroes 2621440 524288" ;;
	*) gone="discard 0 2097152" zeroed="zeroes 2097152 1048576" ;;
	esac
	gone=$(echo "$gone" | tr ';' '\n') zeroed=$(echo "$zeroed" | tr ';' '\n')
	quietly qemu-img create -f qcow2 -o "data_file=disk${options:+,$options}" image $size
	quietly qemu-img convert -n -f raw -O qcow2 base image
	quietly qemu-io -c 'discard 2M 512k' -c 'discard 2560k 512k' -c 'discard 2M 1M' -c 'write -P 5 2560k 512' image
	quietly qemu-io -f raw -c 'write -z 2M 1M' -c 'write -P 5 2560k 512' raw
	case $options in *2M*) quietly qemu-img convert -n -f qcow2 -O raw image raw ;; esac
	compared
	length=$(stat -c %s disk)
	parts >all
	cmp -s all raw || fail "$options: what is read differs from what qemu-img wrote"
	judged
	replay tree.json "$writes" "$zeroed" "$over" "$gone" 'write 4096 512 3' "$zeroed"
	replay raw.json "$writes" "$zeroed" "$over" "$gone" 'write 4096 512 3' "$zeroed"
	judged
	compared
	replay tree.json "$over"
	replay raw.json "$over"
	judged
	compared
	[ "$(stat -c %s disk)" = "$length" ] || fail "$options: the data file has become longer"
	case $options in *raw*) cmp -s -n $size disk raw || fail "$options: the raw file alone differs from the device" ;; esac
	# And QEMU goes on.
	quietly qemu-io -c 'write -P 4 100k 900k' -c 'write -P 5 2500k 4k' image
	quietly qemu-io -f raw -c 'write -P 4 100k 900k' -c 'write -P 5 2500k 4k' raw
	compared
	parts >all
	cmp -s all raw || fail "$options: what is read differs from what QEMU went on to write"
done
ok 'qcow2 images with a data file are read and written as QEMU would'
[ "$(stat -c %b disk)" -gt 0 ] || fail 'nothing in the data file'

# Raw, and of it discarded by QEMU: its map says zeroes then, and the file may hold the bytes still.
rm -f image disk
quietly qemu-img create -f qcow2 -o data_file=disk,data_file_raw=on image $size
quietly qemu-io -c 'write -P 7 0 3M' -c 'discard 64k 128k' -c 'discard 2M 1M' image
printf '\7' | dd of=disk bs=1 seek=70000 conv=notrunc 2>/dev/null
quietly qemu-img convert -f qcow2 -O raw image raw
parts >all
cmp -s all raw || fail 'what QEMU has discarded is read otherwise'
cmp -s -n $size disk raw || fail 'what QEMU has discarded is in the raw file still, after a start of ours'
judged
quietly qemu-img map image
expect 'a raw data file is mapped whole' 1 "$(grep -c disk out)"
ok 'a raw data file reads as the device by itself'

# What is discarded is given back to the data file.
rm -f image disk
quietly qemu-img create -f qcow2 -o data_file=disk image $size
replay tree.json 'write 0 524288 1' 'write 524288 524288 1' flush
before=$(stat -c %b disk)
replay tree.json 'discard 0 1048576' 'read 0 4096'
[ $((before - $(stat -c %b disk))) -ge 2048 ] || fail "what was discarded is kept in the data file: $before, $(stat -c %b disk)"
judged
ok 'what was discarded is given back to the data file'

# Over a backing file; as a backing file; flattened.
rm -f image disk
quietly qemu-img create -f qcow2 -o data_file=disk -b base -F raw image
with '"backing":{"type":"file","path":"base"},' '{"type":"file","path":"disk"}' >tree.json
cp base raw
sum=$(cksum <base)
for _ in 1 2; do
	parts >all
	cmp -s all raw || fail 'over a backing file: what is read'
	replay tree.json "$writes" 'zeroes 2097152 1048576' "$over" 'discard 0 1048576' 'write 66048 512 3'
	replay raw.json "$writes" 'zeroes 2097152 1048576' "$over" 'discard 0 1048576' 'write 66048 512 3'
	judged
	compared
done
expect 'the backing file is as it was' "$sum" "$(cksum <base)"
quietly qemu-img create -f qcow2 -b image -F qcow2 over
cp tree.json kept.json
printf '{"format":1,"name":"t","root":{"type":"thin","data":{"type":"file","path":"over"},"backing":%s}}\n' \
	'{"type":"thin","data":{"type":"file","path":"image"},"backing":{"type":"file","path":"base"},"data_file":{"type":"file","path":"disk"}}' >tree.json
sum=$(cat image disk | cksum)
replay tree.json 'write 4096 512 6'
replay raw.json 'write 4096 512 6'
quietly qemu-img compare -f qcow2 -F raw over raw
parts >all
cmp -s all raw || fail 'over an image with a data file: what is read'
expect 'an image with a data file is only read as a backing' "$sum" "$(cat image disk | cksum)"
cp kept.json tree.json

# An image of ours.
rm -f image disk over
with '"size":"3MiB","cluster_size":"4KiB",' '{"type":"file","path":"disk","size":"3MiB"}' >tree.json
quietly qemu-img create -f raw raw $size
replay tree.json "$writes" 'zeroes 2097152 262144' "$over" 'discard 0 1048576'
replay raw.json "$writes" 'zeroes 2097152 262144' "$over" 'discard 0 1048576'
judged
compared
qemu-img info image | grep -q 'data file: disk' || fail "info: $(qemu-img info image)"
quietly qemu-io -c 'write -P 4 100k 900k' image
quietly qemu-io -f raw -c 'write -P 4 100k 900k' raw
parts >all
cmp -s all raw || fail 'an image of ours, and QEMU has written: what is read'
ok 'an image of ours with a data file is what qemu-img says it is'

refused() { # WHAT MESSAGE
	_sum=$(cat image disk other 2>/dev/null | cksum)
	echo 'read 0 512' | ubd-compose replay tree.json - >out 2>err && fail "$1: accepted"
	expect "$1" "ubd-compose: $2" "$(head -n 1 err)"
	expect "$1: nothing is written" "$_sum" "$(cat image disk other 2>/dev/null | cksum)"
}
put() { # OFFSET BYTES, into the image
	# shellcheck disable=SC2059 # escapes
	printf "$2" | dd of=image bs=1 seek="$1" conv=notrunc 2>/dev/null
}
place='(tree.json:1, /root)' file='(tree.json:1, /root/data_file)'
made() { # OPTIONS
	rm -f image disk other
	quietly qemu-img create -f qcow2 -o "data_file=disk${1:+,$1}" image 1M
	quietly qemu-io -c 'write -P 1 0 128k' image
}
made ''
with '' '' >tree.json
refused 'a data file that the document does not name' \
	"thin thin0: its data is in the external data file \"disk\"; name it as \"data_file\" $place"
cp disk other
with '' '{"type":"file","path":"other"}' >tree.json
refused 'another data file' "thin thin0: its data is in the external data file \"disk\", and the document gives it \"other\"; see qemu-img amend -o data_file $file"
with '' '{"type":"file","path":"image"}' >tree.json
! echo 'read 0 512' | ubd-compose replay tree.json - >out 2>err || fail 'the image as its own data file: accepted'
grep -q 'image is used twice\|the same file' err || fail "the image as its own data file: $(cat err)"
with '' '{"type":"file","path":"disk"}' >tree.json
mv disk hidden
refused 'a data file that is missing' "file file2: $directory/disk does not exist; it is made if the leaf has a \"size\" (tree.json:1, /root/data_file/path)"
mv hidden disk
truncate -s 1044480 disk
refused 'a data file that is too short' "thin thin0: its data file has 1044480 bytes, less than the device's 1048576 $file"
truncate -s 1M disk
table=262144
put $((table + 8)) '\200\0\0\0\0\2\0\0'
refused 'an offset that is not the device'"'"'s' "thin thin0: entry 1 of its L2 table at $table: it names offset 131072 of its data file for the device's offset 65536, which must be the same $place"
put $((table + 8)) '\100\0\0\0\0\1\0\0'
refused 'a compressed cluster' "thin thin0: entry 1 of its L2 table at $table: it is compressed, which the format rules out beside an external data file $place"
made ''
put 60 '\0\0\0\1'
put 64 '\0\0\0\0\0\1\0\0'
refused 'internal snapshots' "thin thin0: its image: it has an external data file and 1 internal snapshots, which the format rules out $place"
made data_file_raw=on
put 8 '\0\0\0\0\0\0\2\0\0\0\0\4'
put 512 'base'
refused 'a raw data file over a backing' "thin thin0: its image: its external data file is said to be raw, and it has a backing file, which the format rules out $place"
made data_file_raw=on
put 196608 '\0\0\0\0\0\0\0\0'
sum=$(cksum <image)
refused 'a raw data file whose map has no table' "thin thin0: its data file is said to be raw, and its map has no L2 table for offset 0, which writing it needs; see qemu-img convert, or serve it with \"read_only\": true $place"
quietly qemu-img create -f qcow2 image 1M
refused 'a data file for an image that has none' "thin thin0: its image holds its data itself, and the document gives it a data file $file"
rm image
with '"size":"1MiB",' '{"type":"file","path":"disk"}' >tree.json
made ''
rm image
refused 'a new image over a data file that is not blank' "thin thin0: its data file is not blank, and a new image would overwrite it $file"
made ''
replay tree.json 'write 0 4096 1'
printf 'ask thin0 snapshot-create {"name":"s"}\n' | ubd-compose replay tree.json - >out 2>err && fail 'a snapshot: accepted'
expect 'a snapshot is refused' 'ubd-compose: thin thin0: its data is in an external data file, and the format rules out internal snapshots beside one' "$(head -n 1 err)"
made ''
with '"commit":true,"backing":{"type":"file","path":"base"},' '{"type":"file","path":"disk"}' >tree.json
rm -f image disk
quietly qemu-img create -f qcow2 -o data_file=disk -b base -F raw image
refused 'commit' 'thin thin0: "commit" is not for one with a "data_file"; see qemu-img commit (tree.json:1, /root/commit)'
