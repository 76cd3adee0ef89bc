# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# Snapshots of a live thin: qemu-img lists them, finds nothing wrong with the image, and reads what the device held.
. "$(dirname "$0")/lib.sh"

size=$((3 << 20))

quietly() { "$@" >out 2>&1 || fail "$*: $(cat out)"; }
replay() { # DOCUMENT SCRIPT-LINE...
	_tree=$1
	shift
	printf '%s\n' "$@" | ubd-compose replay "$_tree" - >out 2>err || fail "replay: $(cat out err)"
}
holds() { # SNAPSHOT RAW-FILE
	quietly qemu-img convert -l "$1" -O raw image past
	cmp -s past "$2" || fail "snapshot $1 holds something else than the device did"
}

quietly qemu-img create -f raw base $size
dd if=/dev/urandom of=base bs=1000 seek=100 count=300 conv=notrunc 2>/dev/null
quietly qemu-io -f raw -c 'write -P 7 1M 70000' -c 'write -P 3 2900k 64k' base
echo '{"format":1,"name":"t","root":{"type":"thin","data":{"type":"file","path":"image"}}}' >tree.json
echo '{"format":1,"name":"r","root":{"type":"file","path":"raw","label":false}}' >raw.json

# A part of it is under way while the snapshot is being made.
first="write 512 512 1
write 1000448 200704 3
write 2095104 4096 4 fua
write 3000320 100352 5"
second="write 131072 65536 6
write 512 512 7
write 1048576 65536 8
write 2097152 524288 12"

for options in cluster_size=512 cluster_size=4096 cluster_size=65536 cluster_size=2M compat=0.10 refcount_bits=2 refcount_bits=64 \
	extended_l2=on lazy_refcounts=on preallocation=metadata; do
	for packed in '' -c; do
		# Unpacking 2 MiB takes more memory for each request than the default queue_depth leaves.
		case $options$packed in *preallocation*-c | *2M*-c | *512-c | *refcount_bits=2-c) continue ;; esac
		# shellcheck disable=SC2086 # -c or nothing
		quietly qemu-img convert $packed -f raw -O qcow2 -o $options base image
		[ $options != cluster_size=65536 ] || quietly qemu-img snapshot -c theirs image
		cp base raw
		replay raw.json "$first"
		cp raw one
		replay raw.json "$second"
		cp raw two
		replay tree.json 'depth 8' "$first" wait 'ask thin0 snapshot-create {"name":"one"}' 'ask thin0 snapshot-made' \
			"$second" wait 'ask thin0 snapshot-create {"name":"two"}' 'ask thin0 snapshot-made' 'write 0 131072 9' flush
		replay raw.json 'write 0 131072 9'
		quietly qemu-img check image
		quietly qemu-img compare -f qcow2 -F raw image raw
		holds one one
		holds two two
		[ $options != cluster_size=65536 ] || holds theirs base
		replay tree.json 'write 0 262144 10' 'write 1048576 65536 11'
		replay raw.json 'write 0 262144 10' 'write 1048576 65536 11'
		quietly qemu-img check image
		quietly qemu-img compare -f qcow2 -F raw image raw
		holds two two
		[ $options != refcount_bits=2 ] || continue # they count to 3: there is no room for one name more
		replay tree.json 'depth 8' "$second" 'ask thin0 snapshot-revert {"name":"one"}' wait 'ask thin0 snapshot-made' wait
		cp one raw
		quietly qemu-img check image
		quietly qemu-img compare -f qcow2 -F raw image raw
		replay tree.json "$first" 'write 0 131072 13'
		replay raw.json "$first" 'write 0 131072 13'
		quietly qemu-img check image
		quietly qemu-img compare -f qcow2 -F raw image raw
		holds one one
		holds two two
	done
done
ok "what a snapshot holds is what the device held, and qemu-img finds nothing wrong"

quietly qemu-img snapshot -l image
expect 'qemu-img lists them' 'one two' "$(sed -n 's/^[12] *\([a-z]*\) .*/\1/p' out | xargs)"
quietly qemu-img snapshot -a one image
quietly qemu-img check image
quietly qemu-img compare -f qcow2 -F raw image one
quietly qemu-img snapshot -d one image
quietly qemu-img check image
replay tree.json 'write 0 262144 11' 'ask thin0 snapshots'
grep -q '"name": "two"' out || fail "the list: $(cat out)"
grep -q '"name": "one"' out && fail "the list: $(cat out)"
quietly qemu-img check image
holds two two
ok 'qemu-img goes back to one, and deletes it'

quietly qemu-img convert -f raw -O qcow2 base image
for round in 1 2 3; do
	replay tree.json 'depth 8' "ask thin0 snapshot-create {\"name\":\"a$round\"}" "$first" wait \
		"ask thin0 snapshot-create {\"name\":\"b$round\"}" "$second" wait
	quietly qemu-img convert -l "b$round" -O raw image "kept$round"
	replay tree.json 'depth 8' "ask thin0 snapshot-delete {\"name\":\"a$round\"}" 'ask thin0 snapshot-made' "$first"
	quietly qemu-img check image
done
replay tree.json 'ask thin0 snapshot-delete {"name":"b2"}' 'ask thin0 snapshot-made'
quietly qemu-img check image
holds b1 kept1
holds b3 kept3
quietly qemu-img snapshot -c theirs image
quietly qemu-img convert -f qcow2 -O raw image now
replay tree.json "$second" 'ask thin0 snapshot-delete {"name":"b1"}' 'ask thin0 snapshot-delete {"name":"b3"}' 'write 0 512 9'
quietly qemu-img check image
holds theirs now
replay tree.json 'ask thin0 snapshot-delete {"name":"theirs"}'
quietly qemu-img check image
quietly qemu-img snapshot -l image
expect 'and when all are gone none is left' '' "$(sed -n 3,9p out)"
ok 'deleting them leaves the others as they are, and nothing is lost'

quietly qemu-img create -f qcow2 -o refcount_bits=1 image 3M
echo 'ask thin0 snapshot-create {"name":"one"}' | ubd-compose replay tree.json - >out 2>err && fail 'a snapshot without counts'
expect 'who counts to one has no snapshots' \
	'ubd-compose: thin thin0: its image counts to 1 only (refcount_bits=1), and a snapshot needs 2' "$(cat err)"
