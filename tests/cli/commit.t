# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# A commit of a live thin into its backing: what qemu-img commit leaves there, and an image that is empty and whole.
. "$(dirname "$0")/lib.sh"

size=$((3 << 20))

quietly() { "$@" >out 2>&1 || fail "$*: $(cat out)"; }
replay() { # DOCUMENT SCRIPT-LINE...
	_tree=$1
	shift
	printf '%s\n' "$@" | ubd-compose replay "$_tree" - >out 2>err || fail "replay: $(cat out err)"
}
refused() { # WHAT MESSAGE DOCUMENT
	printf 'ask thin0 commit\n' | ubd-compose replay "$3" - >out 2>err && fail "$1: not refused"
	expect "$1" "ubd-compose: $2" "$(cat err)"
}
document() { # KEYS BACKING
	printf '{"format":1,"name":"t","device":{"queue_depth":16},"root":{"type":"thin","data":{"type":"file","path":"image"},%s"backing":%s}}\n' "$1" "$2"
}
at_depth() { # DEPTH: how many extents of the image are there
	qemu-img map --output=json image | grep -c "\"depth\": $1,.*\"data\": \(true\|false\)" || true
}

file='{"type":"file","path":"base"}'
document '"commit":true,' "$file" >tree.json
document '' "$file" >read-only.json
echo '{"format":1,"name":"r","root":{"type":"file","path":"raw","label":false}}' >raw.json

qemu-img create -f raw first $size >/dev/null
dd if=/dev/urandom of=first bs=1000 seek=100 count=1300 conv=notrunc 2>/dev/null
quietly qemu-io -f raw -c 'write -P 7 1M 70000' -c 'write -P 3 2900k 64k' first

# Backing is any tree: here two files in turn.
legs='{"id":"s","type":"stripe","children":[{"type":"file","path":"s0","label":false},{"type":"file","path":"s1","label":false}]}'
printf '{"format":1,"name":"s","root":%s}\n' "$legs" >stripe.json
printf '{"format":1,"name":"t","root":{"type":"thin","cluster_size":65536,"data":{"type":"file","path":"image"},"commit":true,"backing":%s}}\n' \
	"$legs" >over.json
truncate -s 2M s0 s1
replay stripe.json 'write 0 524288 1' 'write 524288 524288 4' 'write 1048576 524288 5'
replay over.json 'write 100352 400384 2' 'write 2097152 65536 3' 'discard 1048576 131072' 'ask thin0 commit'
replay stripe.json 'read 100352 400384 2' 'read 2097152 65536 3' 'save 1048576 131072 got'
cmp -n 131072 got /dev/zero || fail 'what was discarded is still in the backing'
ok 'a stripe takes a commit'
rm -f image
sed 's/"type":"thin",/&"discard":"ignore",/' over.json >kept.json
rm s0 s1
fallocate -l 2M s0
fallocate -l 2M s1
replay stripe.json 'write 0 524288 1' 'write 1048576 524288 5'
blocks=$(stat -c %b s0 s1)
replay kept.json 'zeroes 1048576 131072' 'write 0 65536 2' wait 'ask thin0 commit'
replay stripe.json 'read 0 65536 2' 'save 1048576 131072 got'
cmp -n 131072 got /dev/zero || fail 'what was zeroed is still in the backing'
expect 'with "discard": "ignore" a backing keeps the room that it was given' "$blocks" "$(stat -c %b s0 s1)"

cp first base
rm -f image
quietly qemu-img create -f qcow2 -b base -F raw image $size
quietly qemu-io -f qcow2 -c 'write -P 9 0 64k' image
refused 'a backing that the document leaves alone' 'thin thin0: its backing is only read; with "commit": true in the document a create opens that for writing, and lets nobody else use it' read-only.json
flock -s base ubd-compose replay tree.json /dev/null >out 2>err && fail 'a backing that somebody else reads is taken'
grep -q base err || fail "who has the backing isn't told: $(cat err)"
ok 'nobody else has the backing'
quietly qemu-img snapshot -c one image
refused 'snapshots' 'thin thin0: its 1 snapshots are based on the backing too, and would change with it; delete them first' tree.json
quietly qemu-img snapshot -d one image
quietly qemu-img resize image 4M
refused 'a backing that is shorter' 'thin thin0: its backing has 3145728 bytes and it has 4194304: make the backing longer first, while neither is served' tree.json
cmp base first || fail 'what was refused has changed the backing'

document '"commit":true,' '{"type":"linear","children":[{"id":"z","type":"zero","size":"64KiB"},{"type":"file","path":"base","label":false}]}' >zero.json
refused 'a backing that forgets' 'thin thin0: "commit": zero z in its backing forgets what is written to it (zero.json:1, /root/commit)' zero.json
quietly qemu-img create -f qcow2 -b base -F raw middle $size
rm -f image
quietly qemu-img create -f qcow2 -b middle -F qcow2 image $size
document '"commit":true,' '{"id":"m","type":"thin","data":{"type":"file","path":"middle"},"backing":{"type":"file","path":"base"}}' >chain.json
refused 'an image below an image' "thin thin0: \"commit\": its backing, thin m, can't be written: a thin volume below another is only read, as a read-only disk is; see qemu-img commit (chain.json:1, /root/commit)" chain.json
echo '{"format":1,"name":"t","root":{"type":"thin","size":"1MiB","data":{"type":"file","path":"new"},"commit":true}}' >alone.json
refused 'an image without a backing' 'thin thin0: "commit" is for one with a "backing" (alone.json:1, /root/commit)' alone.json

# Some of it is under way while that is committed.
writes="write 512 512 1
write 1000448 200704 3
write 2095104 4096 4 fua
zeroes 196608 131072
discard 786432 262144
write 3000320 100352 5"

for options in cluster_size=512 cluster_size=4096 cluster_size=65536 cluster_size=2M compat=0.10 refcount_bits=1 \
	extended_l2=on extended_l2=on,cluster_size=2M lazy_refcounts=on preallocation=metadata; do
	case $options in preallocation*) given= ;; *) given="-b base -F raw" ;; esac
	for packed in '' packed; do
		case $options$packed in *512packed | *bits=1packed | lazy*packed | preallocation*) continue ;; esac
		rm -f image
		cp first base
		# shellcheck disable=SC2086 # words
		quietly qemu-img create -f qcow2 -o $options $given image $size
		for at in 0 512k 2560k; do
			[ -n "$packed" ] || break # clusters that have bytes can't become compressed
			case $options in *2M*) at='0 2M' ;; *) at="$at 64k" ;; esac
			quietly qemu-io -f qcow2 -c "write -c -P 5 $at" image
			case $options in *2M*) break ;; esac
		done
		quietly qemu-io -f qcow2 -c 'write -P 9 300000 5000' -c 'write -P 8 700k 300k' -c 'write -P 6 2000k 1' image
		case $options in compat*) ;; *) quietly qemu-io -f qcow2 -c 'write -z 128k 128k' -c 'discard 1536k 256k' -c 'write -z 2700k 300k' image ;; esac
		quietly qemu-img convert -O raw image raw
		rm -rf theirs
		mkdir theirs
		cp image base theirs
		# Of version 2 zeroes can't be told from a hole over a backing, and of a large cluster only all is zeroed.
		case $options in compat* | *2M) some=$(echo "$writes" | grep -v "zeroes\|discard") ;; *) some=$writes ;; esac
		replay raw.json "$(echo "$some" | sed 's/discard/zeroes/')"
		replay tree.json 'depth 8' "$some" 'ask thin0 commit' wait 'ask thin0 commit' 'ask thin0 commit {"keep":true}'
		quietly qemu-img check image
		quietly qemu-img compare -f qcow2 -F raw image raw
		case $options in compat*) ;; *) cmp base raw || fail "$options $packed: something else has come into the backing" ;; esac
		[ "$(at_depth 0)" = 0 ] || fail "$options $packed: the image isn't empty: $(qemu-img map image)"
		(cd theirs && sed 's/"commit":true,//' ../tree.json >tree.json && replay tree.json "$some" && quietly qemu-img commit image)
		cmp base theirs/base || fail "$options $packed: qemu-img commit leaves something else"
		# A life that has no such word reads it there.
		replay read-only.json 'save 0 524288 got' 'write 0 65536 6'
		cmp -n 524288 got raw || fail "$options $packed: other bytes are read from a backing that is only read"
		quietly qemu-img check image
		cmp base theirs/base || fail "$options: a backing that is only read has changed"
	done
done
ok 'backing holds what qemu-img commit leaves there, and the image nothing'
