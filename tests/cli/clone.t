# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# clone: a document over a volume that rests; the volume is only read by it, also by several at once.
. "$(dirname "$0")/lib.sh"

quietly() { "$@" >out 2>&1 || fail "$*: $(cat out)"; }
replay() { # DOCUMENT SCRIPT-LINE...
	_tree=$1
	shift
	printf '%s\n' "$@" | ubd-compose replay "$_tree" - >out 2>err || fail "replay: $(cat out err)"
}
until_so() { # WHAT COMMAND...: it succeeds, in the end
	_what=$1 _tries=0
	shift
	until "$@" >out 2>err; do
		[ $((_tries += 1)) -lt 300 ] || fail "$_what: $(cat out err)"
		sleep 0.1
	done
}

mkdir base
cat >base/tree.json <<'END'
{ "format": 1, "name": "base", "device": { "queue_depth": 16 },
  "root": { "type": "thin", "size": "3MiB", "data": { "type": "file", "path": "image" } } }
END
replay base/tree.json 'write 0 65536 1' 'write 1048576 4096 2'
sum=$(cksum <base/image)

ubd-compose clone base/tree.json a.qcow2 >a.json 2>err || fail "clone: $(cat err)"
[ ! -e a.qcow2 ] || fail 'clone has made the image'
mkdir elsewhere
mv a.json elsewhere # the document names its files wherever it is
replay elsewhere/a.json 'read 0 65536 1' 'write 512 512 3' 'write 2097152 65536 4' 'discard 1048576 65536' flush
replay elsewhere/a.json 'read 512 512 3' 'read 2097152 65536 4'
expect 'what is cloned is not written' "$sum" "$(cksum <base/image)"
quietly qemu-img check a.qcow2
quietly qemu-img create -f qcow2 -b "$PWD/base/image" -F qcow2 theirs
quietly qemu-io -f qcow2 -c 'discard 1M 64k' theirs
ubd-compose replay elsewhere/a.json - >/dev/null 2>err <<'END' || fail "$(cat err)"
save 512 512 x
save 2097152 65536 y
END
for at in 1:x 4096:y; do
	quietly dd if="${at#*:}" of=part bs=512
	quietly qemu-io -f qcow2 -c "write -s part $((${at%:*} * 512)) $(stat -c %s part)" theirs
done
quietly qemu-img compare -f qcow2 -F qcow2 a.qcow2 theirs
ok 'a clone is what qemu-img create -b makes'

ubd-compose clone base/tree.json b.qcow2 >b.json 2>err || fail "another clone: $(cat err)"
replay b.json 'read 0 65536 1' 'write 0 512 9'
ubd-compose clone --name=second base/tree.json c.qcow2 >c.json 2>err || fail "a second clone: $(cat err)"
grep -q '"name": "second"' c.json || fail "its name: $(cat c.json)"
grep -q '"queue_depth": 16' c.json || fail "its device: $(cat c.json)"
replay c.json 'read 0 65536 1'
sed 's/"queue_depth": 16/"queue_depth": 16, "read_only": true/' base/tree.json >base/read-only.json
ubd-compose clone base/read-only.json e.qcow2 >e.json 2>err || fail "a clone of what is only read: $(cat err)"
if grep read_only e.json >out; then fail "the clone is only read, too: $(cat out)"; fi
replay e.json 'read 0 65536 1' 'write 0 512 9'
ok 'a volume has several clones'

# A cloud's image: compressed. What one request may need must not grow with each image below it.
quietly qemu-img convert -c -f qcow2 -O qcow2 base/image chain0
echo '{"format":1,"name":"chain0","root":{"type":"thin","data":{"type":"file","path":"chain0"}}}' >chain0.json
for i in 1 2 3 4 5 6; do
	ubd-compose clone chain$((i - 1)).json chain$i.qcow2 >chain$i.json 2>err || fail "clone $i of a clone: $(cat err)"
	replay chain$i.json "write $((i * 65536 + 100 * 512)) 512 $i" 'read 0 65536 1' 'read 1048576 4096 2' "read $((i * 65536 + 51200)) 512 $i" \
		'read 116736 512 1'
done
quietly qemu-img check chain6.qcow2
below='{"type":"thin","data":{"type":"file","path":"base/image"}}'
over=base/image
for options in cluster_size=1M cluster_size=65536 extended_l2=on; do
	image=over-$options
	quietly qemu-img create -f qcow2 -o "$options" -b "$over" -F qcow2 "$image"
	quietly qemu-io -f qcow2 -c 'write -P 5 10k 3k' -c 'write -P 6 200000 70000' -c 'write -z 1052672 2048' "$image"
	over=$image
	below='{"type":"thin","data":{"type":"file","path":"'$image'"},"backing":'$below'}'
	echo '{"format":1,"name":"over","device":{"max_io_size":"64KiB"},"root":'"$below"'}' >over.json
	replay over.json 'save 512 65536 x1' 'save 66048 65536 x2' 'save 131584 65536 x3' 'save 197120 65536 x4' \
		'save 262656 65536 x5' 'write 2621952 65536 7' 'write 1573376 65536 8' 'read 2621952 65536 7' 'save 0 512 x0'
	cat x0 x1 x2 x3 x4 x5 >all
	quietly qemu-img convert -f qcow2 -O raw "$image" raw
	cmp -n "$(stat -c %s all)" all raw || fail "$options: what is read differs from what qemu-img reads"
	quietly qemu-img check "$image"
done
ok 'clones have clones'

mkfifo words
ubd-compose replay b.json - <words >/dev/null 2>&1 &
exec 3>words
echo 'save 0 512 first' >&3
until_so 'reading a clone' test -s first
place='(base/tree.json:2, /root/data/path)'
answers 'a volume whose clone is open' 1 '' "ubd-compose: file file1: $directory/base/image is locked: another daemon serves it, or a program uses it $place" \
	ubd-compose replay base/tree.json /dev/null
ubd-compose check c.json >out 2>err || fail "check of a second clone: $(cat err)"
replay c.json 'read 0 65536 1' 'write 0 512 5'
exec 3>&-
wait
ok 'a volume whose clone is open is not written, and read by other clones'

rm first
ubd-compose replay base/tree.json - <words >/dev/null 2>&1 &
exec 3>words
echo 'save 0 512 first' >&3
until_so 'reading the volume' test -s first
answers 'a clone of what is written to' 1 '' \
	"ubd-compose: file file3: $directory/base/image is locked: another daemon serves it, or a program uses it (clone:1, /root/backing/data/path)" \
	ubd-compose clone base/tree.json d.qcow2
exec 3>&-
wait

answers 'a clone over a file that exists' 1 '' 'ubd-compose: c.qcow2 exists; a clone has a new image' ubd-compose clone base/tree.json c.qcow2
answers 'a clone in no directory' 1 '' 'ubd-compose: none/d: its directory: No such file or directory' ubd-compose clone base/tree.json none/d
tree mirror >mirror.json
replay mirror.json 'write 0 512 1'
label='it carries a label of vol0, so that no other device can have it as its backing'
answers 'a clone of what carries labels' 1 '' "ubd-compose: file d0: $label (mirror.json:4, /root/children/0/path)
ubd-compose: file d1: $label (mirror.json:5, /root/children/1/path)" ubd-compose clone mirror.json d.qcow2
name='is not a name: letters, digits and . _ - with a letter or digit first'
answers 'a name that is none' 1 '' "ubd-compose: name \"a b\" $name (clone:1, /name)
ubd-compose: thin: id \"a b\" $name (clone:1, /root/id)" \
	ubd-compose clone --name='a b' base/tree.json d.qcow2
expect 'nothing but what was made is there' '' "$(find . -name 'd*' ! -name 'd?.img' -type f)"
