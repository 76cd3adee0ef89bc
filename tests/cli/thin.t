# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# thin: images that qemu-img made are read and written, images of ours are what qemu-img says they are.
. "$(dirname "$0")/lib.sh"

size=$((3 << 20))

quietly() { "$@" >out 2>&1 || fail "$*: $(cat out)"; }
replay() { # DOCUMENT SCRIPT-LINE...
	_tree=$1
	shift
	printf '%s\n' "$@" | ubd-compose replay "$_tree" - >out 2>err || fail "replay: $(cat out err)"
}
on() { # TYPE KEYS: a document with an image, which may have further keys
	printf '{"format":1,"name":"t","root":{"type":"thin",%s"data":{"type":"file","path":"image"}}}\n' "${1-}"
}
plain() { echo '{"format":1,"name":"r","root":{"type":"file","path":"raw","label":false}}'; }
judged() { quietly qemu-img check image; }

# The same bytes and holes for all: random data, so that what is compressed differs from what is not.
quietly qemu-img create -f raw base $size
dd if=/dev/urandom of=base bs=1000 seek=100 count=300 conv=notrunc 2>/dev/null
quietly qemu-io -f raw -c 'write -P 7 1M 70000' -c 'write -P 9 2M 5k' -c 'write -P 3 2900k 64k' base
on >tree.json
plain >raw.json

# What a device may get in its life: small, large, across clusters, zeroes, discards. The last end at 2 MiB.
life="write 512 512 1
write 65024 1024 2
write 1000448 200704 3
write 2095104 4096 4 fua
write 3000320 100352 5
flush
write 131072 65536 6
read 512 512 1
read 65024 1024 2
read 131072 65536 6
read 1000448 200704 3
read 3000320 100352 5"

for options in cluster_size=512 cluster_size=4096 cluster_size=65536 cluster_size=2M compat=0.10 refcount_bits=1 \
	refcount_bits=2 refcount_bits=8 refcount_bits=64 extended_l2=on extended_l2=on,cluster_size=16384 lazy_refcounts=on \
	compression_type=zstd extended_l2=on,cluster_size=2M preallocation=metadata; do
	for packed in '' -c; do
		# Unpacking 2 MiB takes more memory for each request than the default queue_depth leaves.
		case $options$packed in *preallocation*-c | *2M*-c) continue ;; esac
		cp base raw
		# shellcheck disable=SC2086 # -c or nothing
		quietly qemu-img convert $packed -f raw -O qcow2 -o $options base image
		replay tree.json "save 0 524288 p0" "save 524288 524288 p1" "save 1048576 524288 p2" "save 1572864 524288 p3" \
			"save 2097152 524288 p4" "save 2621440 524288 p5"
		cat p0 p1 p2 p3 p4 p5 >all
		cmp -s all raw || fail "$options $packed: what is read differs from what qemu-img wrote"
		judged
		replay tree.json "$life"
		replay raw.json "$life"
		judged
		quietly qemu-img compare -f qcow2 -F raw image raw
	done
done
ok "images of qemu-img's are read and written as it would"

rm -f image
on '"size":"3MiB","cluster_size":"4KiB",' >new.json
replay new.json "$life"
judged
quietly qemu-img create -f raw raw $size
replay raw.json "$life"
quietly qemu-img compare -f qcow2 -F raw image raw
qemu-img info image | grep -q 'virtual size: 3 MiB' || fail "info: $(qemu-img info image)"
qemu-img info image | grep -q 'cluster_size: 4096' || fail "info: $(qemu-img info image)"
ok 'an image of ours is what it was asked for'
before=$(qemu-img check image | sed -n 's/^Image end offset: //p')
replay new.json 'discard 0 3145728' 'flush' # in a life of its own: what is being punched just then is used later
replay new.json 'write 2097152 262144 9' 'read 0 4096' 'read 2097152 262144 9'
judged
after=$(qemu-img check image | sed -n 's/^Image end offset: //p')
[ "$after" -le $((before + 65536)) ] || fail "what was discarded isn't used again: $before, $after"
ok 'what was discarded is used again'

rm -f image
on '"size":"3MiB",' >new.json
blocks() { # of 512 bytes, that the file system has for the image
	stat -c %b image
}
replay new.json 'write 0 524288 1' 'write 524288 524288 2' 'write 1048576 524288 3' 'write 1572864 524288 4' flush
before=$(blocks)
replay new.json 'discard 0 2097152' flush 'read 0 4096'
judged
[ $((before - $(blocks))) -ge 2048 ] || fail "what was discarded is kept below: $before, $(blocks)"
replay new.json 'write 0 524288 1' 'write 524288 524288 2' 'write 1048576 524288 3' 'write 1572864 524288 4' flush
before=$(blocks)
on '"size":"3MiB","discard":"ignore",' >ignored.json
ubd-compose check --json ignored.json 2>err | grep -q '"discard_granularity": 0' || fail 'discard is ignored, and offered'
replay ignored.json 'zeroes 0 2097152' flush 'read 0 4096'
[ "$(blocks)" -ge "$before" ] || fail "with discard ignored it is given back: $before, $(blocks)"
ok 'what was discarded is given back to the file below'
before=$(blocks)
on >trimmed.json
replay trimmed.json 'ask thin0 trim' 'write 2097152 65536 5' 'ask thin0 trimmed' 'read 2097152 65536 5' 'read 0 4096'
grep -qE '"running": false, "free": ([0-9]{7}), "discarded": \1 ' out || fail "trim: $(cat out)"
judged
[ $((before - $(blocks))) -ge 3500 ] || fail "what was free is kept below: $before, $(blocks)"
replay ignored.json 'read 0 4096'
! echo 'ask thin0 trim' | ubd-compose replay ignored.json - >out 2>err || fail 'with discard ignored it is trimmed'
expect 'who ignores discards is not trimmed' \
	'ubd-compose: thin thin0: its "discard" is "ignore": it gives nothing back to what it is on' "$(cat err)"
ok 'what an earlier life left free is given back when asked to'

for format in raw qcow2; do
	rm -f image over
	quietly qemu-img convert -f raw -O $format base over
	case $format in
	raw) backing='{"type":"file","path":"over"}' ;;
	qcow2) backing='{"type":"thin","data":{"type":"file","path":"over"}}' ;;
	esac
	on "\"size\":\"4MiB\",\"backing\":$backing," >backed.json
	sum=$(cksum <over)
	cp base raw
	truncate -s 4M raw
	replay backed.json "$life" 'discard 262144 65536' 'read 262144 65536'
	replay raw.json "$life" 'zeroes 262144 65536'
	judged
	quietly qemu-img compare -f qcow2 -F raw image raw
	expect "over $format: backing is never written" "$sum" "$(cksum <over)"
	qemu-img info image | grep -q "backing file: over" || fail "info: $(qemu-img info image)"
	qemu-img info image | grep -q "backing file format: $format" || fail "info: $(qemu-img info image)"
done
ok 'an image over backing reads what it was not given'

rm -f image
quietly qemu-img convert -f raw -O qcow2 base image
quietly qemu-img snapshot -c before image
replay tree.json "$life"
cp base raw
replay raw.json "$life"
quietly qemu-img check -r leaks image
judged
quietly qemu-img compare -f qcow2 -F raw image raw
quietly qemu-img convert -l before -O raw image past
cmp -s past base || fail 'a snapshot has changed with the device'
ok 'what a snapshot holds is left alone'

rm -f image
echo '{"format":1,"name":"t","root":{"type":"thin","size":"3MiB","cluster_size":"4KiB","data":{"type":"file","path":"image","size":"1MiB"}}}' >full.json
replay full.json 'write 0 524288 1' 'discard 0 524288' 'write 1048576 524288 2' 'read 1048576 524288 2'
judged
ok 'what is discarded makes room at once'
rm image
printf '%s\n' 'write 0 524288 1' 'write 1048576 524288 2' wait 'write 0 4096 3' 'read 0 4096 3' 'discard 0 262144' flush \
	'write 2621440 131072 5' 'read 2621440 131072 5' | ubd-compose replay full.json - >out 2>err && fail 'more is written than there is room for'
expect 'a write for which there is no room fails, and no other request' '2: write 1048576 524288: No space left on device' "$(grep -v ': ok' out)"
judged
[ "$(stat -c %s image)" -le $((1 << 20)) ] || fail "the file has grown beyond its size: $(stat -c %s image)"
replay full.json 'read 2621440 131072 5'
ok 'what is discarded makes room again'

rm -f image
sed 's/"size":"3MiB"/"when_full":"queue","no_space_timeout":60,&/' full.json >queue.json
replay queue.json 'depth 8' 'write 0 524288 1' 'write 524288 65536 2' 'write 1048576 524288 2' 'read 524288 65536 2' 'write 524288 65536 3' \
	'discard 0 524288' flush wait 'read 1048576 524288 2' 'read 524288 65536 3' 'read 0 4096'
judged
ok 'a write waits for what is discarded, and keeps nobody back'
sed -i 's/60,/1,/' queue.json
printf '%s\n' 'write 2097152 524288 4' 'write 524288 65536 5' | ubd-compose replay queue.json - >out 2>err && fail 'a write waits for ever'
expect 'but no longer than it may' '1: write 2097152 524288: No space left on device' "$(grep -v ': ok' out)"
judged

rm -f image
quietly qemu-img create -f qcow2 -o lazy_refcounts=on image 3M
qemu-io -f qcow2 -c 'write -P 5 0 1M' -c flush -c abort image >/dev/null 2>&1 && fail 'qemu-io has not aborted'
qemu-img check image >out 2>&1 && fail 'the image is not marked dirty'
echo 'read 0 4096' | ubd-compose replay tree.json - >out 2>err || fail "a dirty image: $(cat err)"
judged
quietly qemu-io -r -f qcow2 -c 'read -P 5 0 1M' image
grep -q 'Pattern' out && fail 'a dirty image has lost what was written'
ok 'an image that was marked dirty is counted anew, and no longer marked'

rm -f image
quietly qemu-img convert -f raw -O qcow2 base image
printf '\0\2' | dd of=image bs=1 seek=$((131072 + 2 * 5)) conv=notrunc 2>/dev/null # of a cluster that is used
printf '\0\1' | dd of=image bs=1 seek=$((131072 + 2 * 40)) conv=notrunc 2>/dev/null # of one that is not
qemu-img check image >out 2>&1 && fail 'qemu-img finds nothing wrong'
sum=$(cksum <image)
leaked() { ubd-compose check --json "$@" 2>err | sed -n 's/.*"leaked": \([0-9]*\).*/\1/p'; }
expect 'check tells what is leaked' 131072 "$(leaked tree.json)"
expect 'check alone touches nothing' "$sum" "$(cksum <image)"
expect 'check --repair leaves nothing leaked' 0 "$(leaked --repair tree.json)"
judged
quietly qemu-img compare -f qcow2 -F raw image base
mkdir none
on '"size":"3MiB",' >none/tree.json
(cd none && ubd-compose check --repair tree.json >out 2>err) && fail 'what is not there is repaired'
grep -q 'there is no image to repair' none/err || fail "repair of nothing: $(cat none/err)"
[ ! -e none/image ] || fail 'a repair has made an image'
rm -rf none
ok 'what is not there is not repaired'

# The same ranges as qemu-img tells, whatever either joins.
cat >same.py <<'END'
import json, sys
def told(path):
    told = []
    for extent in json.load(open(path)):
        extent = {key: extent.get(key) for key in ("start", "length", "depth", "present", "zero", "data", "offset")}
        if extent["zero"]:
            extent["offset"] = None
        last = told[-1] if told else None
        follows = last and (extent["offset"] is None or last["offset"] is not None and last["offset"] + last["length"] == extent["offset"])
        if follows and all(last[key] == extent[key] for key in ("depth", "present", "zero", "data")) and (
                (last["offset"] is None) == (extent["offset"] is None)):
            last["length"] += extent["length"]
        else:
            told.append(extent)
    return told
sys.exit(told("ours") != told("theirs") or not told("ours"))
END
quietly qemu-img convert -f raw -O qcow2 base over
on '"backing":{"type":"thin","data":{"type":"file","path":"over"}},' >backed.json
for options in cluster_size=512 cluster_size=65536 extended_l2=on; do
	quietly qemu-img create -f qcow2 -o $options -b over -F qcow2 image 4M
	quietly qemu-io -f qcow2 -c 'write 0 64k' -c 'write -z 128k 64k' -c 'write 2900k 10k' -c 'discard 1M 64k' -c 'write -z 1100k 4k' image
	quietly qemu-img map --output=json image
	cp out theirs
	ubd-compose map --json backed.json >ours 2>err || fail "map: $(cat err)"
	python3 same.py || fail "map of $options: $(cat ours theirs)"
done
[ "$(ubd-compose map backed.json | grep -c '^[0-9]')" -gt 2 ] || fail "map: $(ubd-compose map backed.json)"
ok 'map tells what qemu-img map does'
answers 'map of what has none' 1 '' 'ubd-compose: file file0 has no map' ubd-compose map raw.json

rm -f image
quietly qemu-img create -f qcow2 -o cluster_size=512 image 32M # whose refcount table counts 8 MiB
i=0
: >script
while [ $i -lt 24 ]; do
	echo "write $((i * 1048576)) 131072 $((i + 1))" >>script
	echo "write $((i * 1048576 + 131072)) 524288 $((i + 100))" >>script
	i=$((i + 1))
done
ubd-compose replay tree.json - <script >out 2>err || fail "a short refcount table: $(grep -v ': ok' out | head -n 2) $(cat err)"
judged
sed 's/write/read/' script | ubd-compose replay tree.json - >out 2>err || fail "after its refcount table has grown: $(grep -v ': ok' out)"
judged
ok 'a refcount table that counts too little is made longer'

refused() { # WHAT MESSAGE
	echo 'read 0 512' | ubd-compose replay tree.json - >out 2>err && fail "$1: accepted"
	expect "$1" "ubd-compose: $2" "$(head -n 1 err)"
}
place='(tree.json:1, /root)'
quietly qemu-img create -f qcow2 image 1M
printf '\2' | dd of=image bs=1 seek=35 conv=notrunc 2>/dev/null
refused 'LUKS' "thin thin0: its image: it is encrypted (LUKS), which is not supported $place"
quietly qemu-img create -f qcow2 -b base -F raw image
refused 'a backing file that the document does not name' "thin thin0: its image stands on the backing file \"base\"; name it as \"backing\" $place"
quietly qemu-img create -f qcow2 image 1M
quietly qemu-img bitmap --add image b0
refused 'bitmaps' "thin thin0: its image holds dirty bitmaps, which writing here would make wrong; remove them (qemu-img bitmap --remove), or serve it with \"read_only\": true $place"
quietly qemu-img create -f qcow2 image 1M
printf '\2' | dd of=image bs=1 seek=79 conv=notrunc 2>/dev/null
refused 'a corrupt image' "thin thin0: its image is marked corrupt; see qemu-img check -r all, or serve it with \"read_only\": true $place"
echo '{"format":1,"name":"t","device":{"read_only":true},"root":{"type":"thin","data":{"type":"file","path":"image"}}}' >seen.json
for option in compat=1.1 compression_type=zstd; do
	quietly qemu-img convert -c -f raw -O qcow2 -o $option base image
	printf '\2' | dd of=image bs=1 seek=79 conv=notrunc 2>/dev/null
	[ $option = compat=1.1 ] || printf '\12' | dd of=image bs=1 seek=79 conv=notrunc 2>/dev/null
	sum=$(cksum <image)
	replay seen.json "save 0 524288 p0" "save 2621440 524288 p5"
	[ "$(dd if=base bs=524288 count=1 2>/dev/null | cksum)" = "$(cksum <p0)" ] || fail "$option, read-only: other bytes"
	[ "$(dd if=base bs=524288 skip=5 2>/dev/null | cksum)" = "$(cksum <p5)" ] || fail "$option, read-only: other bytes"
	expect "what is only read is not written: $option" "$sum" "$(cksum <image)"
done
quietly qemu-img create -f qcow2 image 1M
mkfifo words
qemu-io -f qcow2 image <words >/dev/null 2>&1 &
exec 3>words
until_so() { # WHAT COMMAND...: it succeeds, in the end
	_what=$1 _tries=0
	shift
	until "$@" >out 2>err; do
		[ $((_tries += 1)) -lt 300 ] || fail "$_what: $(cat out err)"
		sleep 0.1
	done
}
is_in_qemu() { ! ubd-compose check tree.json >out 2>err && grep -q "image is open in QEMU or one of its tools" err; }
until_so 'check of an image that QEMU has' is_in_qemu
refused 'an image that QEMU has open' "file file1: $directory/image is open in QEMU or one of its tools (tree.json:1, /root/data/path)"
echo quit >&3
exec 3>&-
wait
ubd-compose replay tree.json - <words >/dev/null 2>&1 &
exec 3>words
echo 'save 0 512 first' >&3 # the file comes with what is read: then the image is open
until_so 'reading an image' test -s first
qemu-io -f qcow2 -c 'write 0 512' image >out 2>err || true
grep -q 'lock' out err || fail "QEMU on an image that we have: $(cat out err)"
ok 'an image that we have open is refused by QEMU'
exec 3>&-
wait
quietly qemu-io -f qcow2 -c 'write 0 512' image

rm -f image
quietly qemu-img create -f raw image 1M
refused 'a blank file without a size' "thin thin0: what is below is blank; an image is made if the node has a \"size\" $place"
on '"size":"3MiB",' >new.json
printf x | dd of=image bs=1 seek=70000 conv=notrunc 2>/dev/null
cp new.json tree.json
refused 'other bytes' "thin thin0: what is below is neither blank nor a qcow2 image $place"

# What memory counts, map and lists take when each cluster has its data: a process that has it open, less one with next to nothing.
peak() { # IMAGE: KiB
	echo '{"format":1,"name":"t","root":{"type":"thin","data":{"type":"file","path":"'"$1"'","direct":false}}}' >tree.json
	echo 'read 0 4096' | python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=2, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' ubd-compose replay tree.json - 2>err || fail "$1: $(cat err)"
}
quietly qemu-img create -f qcow2 small 1G
quietly qemu-img create -f qcow2 -o preallocation=metadata terabyte 1T
difference=$(($(peak terabyte) - $(peak small)))
[ "$difference" -gt 8192 ] || fail "the tables of 1 TiB take $difference KiB only: is it mapped?"
[ "$difference" -le 33792 ] || fail "the tables of 1 TiB, all of it mapped, take $difference KiB; metadata_cache is 32768"
ok "1 TiB that is mapped whole is opened and served within metadata_cache ($difference KiB)"
