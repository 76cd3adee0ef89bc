# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `wipe` removes our label and nothing else, and only where nobody uses the leaf.
. "$(dirname "$0")/lib.sh"

tree mirror >tree.json
make() {
	rm -f d0.img d1.img
	echo 'write 0 4096 1' | ubd-compose replay tree.json - >.out 2>.err || fail "replay: $(cat .err)"
}
data() { tail -c +4194305 "$1" | cksum; }

make
before=$(data d0.img)
exec 9<d0.img
flock 9
answers 'a locked leaf' 1 '' 'ubd-compose: d0.img is locked: a daemon serves it, or a program uses it' ubd-compose wipe d0.img
exec 9<&-
sum=$(cat d0.img d1.img | cksum)
answers 'one of two is no leaf' 1 '' 'ubd-compose: tree.json carries no label' ubd-compose wipe d0.img tree.json
expect 'then the other one stays too' "$sum" "$(cat d0.img d1.img | cksum)"
answers 'a leaf that is given twice' 1 '' 'ubd-compose: ./d0.img is locked: a daemon serves it, or a program uses it' \
	ubd-compose wipe d0.img ./d0.img
answers 'two leaves' 0 'd0.img: removed the label of leaf 0 of the tree vol0, generation 8
d1.img: removed the label of leaf 1 of the tree vol0, generation 8' '' ubd-compose wipe d0.img d1.img
answers 'they carry none now' 1 '' 'ubd-compose: d0.img carries no label
ubd-compose: d1.img carries no label' ubd-compose wipe d0.img d1.img
expect 'the data are as before' "$before" "$(data d0.img)"
ubd-compose check tree.json >.out 2>.err || fail "check: $(cat .err)"
expect 'and create takes them for blank' 2 "$(grep -c 'will be formatted' .out)"

make
for at in 0 2097152; do printf 'x' | dd of=d0.img bs=1 seek=$((at + 60)) conv=notrunc 2>/dev/null; done
answers 'a damaged label' 1 '' \
	'ubd-compose: d0.img carries a damaged label: no copy of its label is whole: of the first, the checksum of its head is wrong; use --force to remove it' \
	ubd-compose wipe d0.img
answers 'with --force' 0 'd0.img: removed a label that could not be read' '' ubd-compose wipe --force d0.img

make
mkfs=$(PATH=$PATH:/usr/sbin:/sbin command -v mke2fs) || fail 'mke2fs is missing'
"$mkfs" -q -F -t ext2 -L home d1.img 2>/dev/null
answers 'a file system over the label' 1 '' 'ubd-compose: d1.img holds an ext2 file system labelled home, which is not ours to wipe' \
	ubd-compose wipe --force d1.img
