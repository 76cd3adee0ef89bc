# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# A leg that went on alone and was given up is brought up to date once what it alone holds is saved; nothing is
# changed where that can't be.
. "$(dirname "$0")/lib.sh"

replay() {
	_script=$1
	shift
	printf '%b\n' "$_script" | ubd-compose replay "$@" tree.json - >.out 2>.err || fail "replay $_script: $(cat .out .err)"
}
# with LEG SCRIPT: on that leg alone.
with() {
	mkdir away
	for file in d?.img; do [ "$file" = "$1.img" ] || mv "$file" away/; done
	replay "$2" --degraded
	mv away/* .
	rmdir away
}
flags() { ubd-compose examine "$1" | sed -n 's/^ *flags *//p'; }

tree mirror '"region_size": "64KiB", "recovery_rate": { "min": "1GiB" },' >tree.json
replay 'write 0 65536 1\nwrite 262144 65536 1'
with d0 'write 0 4096 2\nwrite 131072 4096 2'
with d1 'write 8192 8192 3\nwrite 262144 4096 3\nwrite 393216 512 3\nzeroes 278528 4096'
cp d0.img d0.lost
cp d1.img d1.lost
replay 'save 0 524288 winner' --prefer=d0
expect 'the loser is given up' 'served given_up' "$(flags d1.img)"
cp d1.img before

refused() { # WHAT DIRECTORY MESSAGE
	echo 'read 0 512' | ubd-compose replay --take-back="$2" tree.json - >.out 2>.err && fail "$1: it starts"
	expect "$1" "$3" "$(cat .err)"
	cmp -s d1.img before || fail "$1: the leg was changed"
	expect "$1: it is still given up" 'served given_up' "$(flags d1.img)"
}
why='ubd-compose: what leg d1 of mirror top alone holds can'\''t be saved, and so it is not taken back:'
refused 'no directory' none "$why none: No such file or directory"
mkdir saved
echo mine >saved/vol0.d1.json
refused 'a file in the way' saved "$why vol0.d1.json: File exists"
expect 'the file in the way is as it was, and alone' 'mine vol0.d1.json' "$(cat saved/*) $(ls saved)"
rm saved/vol0.d1.json

ubd-compose check --take-back=saved tree.json >.out 2>.err || fail "check: $(cat .err)"
grep -q 'what leg d1 alone holds would be saved in saved first' .err || fail "check does not say it: $(cat .err)"
expect 'check saves nothing' '' "$(ls saved)"
replay 'save 0 524288 now\nread 131072 4096 2' --take-back=saved
cmp now winner || fail 'the device shows something else than its winner'
expect 'what is done is told' "ubd-compose: mirror top: leg d1 ($directory/d1.img) is given up and is brought up to date; 1 of 2 legs in sync
ubd-compose: what leg d1 alone holds is saved in saved first" "$(cat .err)"
expect 'the map has what the leg alone holds, by blocks' '{"format":1,"name":"vol0","mirror":"top","leg":"d1","leaves":["'"$directory"'/d1.img"],"size":7340032,"ranges":[[0,4096],[8192,8192],[262144,4096],[278528,4096],[393216,4096]],"saved":24576}' "$(tr -d ' \n' <saved/vol0.d1.json)"
expect 'the overlay is as long as the mirror, and sparse' '7340032 yes' \
	"$(stat -c %s saved/vol0.d1.overlay) $([ "$(stat -c %b saved/vol0.d1.overlay)" -lt 2048 ] && echo yes)"

# Laid over the winner, the ranges give what the loser would have shown.
cp winner rebuilt
sed -n 's/^ *\[\([0-9]*\), \([0-9]*\)\].*/\1 \2/p' saved/vol0.d1.json | while read -r offset length; do
	dd if=saved/vol0.d1.overlay of=rebuilt bs=512 skip=$((offset / 512)) seek=$((offset / 512)) count=$((length / 512)) \
		conv=notrunc 2>/dev/null
done
data=$(((4 + 1) * 1048576)) # a leaf's label and its mirror's front
for range in '0 65536' '262144 65536' '393216 65536'; do
	# shellcheck disable=SC2086 # two words
	set -- $range
	dd if=d1.lost bs=512 skip=$(((data + $1) / 512)) count=$(($2 / 512)) of=wanted 2>/dev/null
	dd if=rebuilt bs=512 skip=$(($1 / 512)) count=$(($2 / 512)) of=got 2>/dev/null
	cmp wanted got || fail "the overlay does not give back what the leg held at $1"
done
ok 'with the overlay the loser can be rebuilt'

# It is brought up to date in the background, and then as good as the other: alone it shows the same.
flags d1.img | grep -q given_up && fail 'it is still given up'
# All of it is copied anew at each start until it is: so each life is longer than the last one. What it takes is
# a few flushes, and as many as that take as long on however slow a disk.
flushes=25
while ubd-compose check tree.json 2>&1 | grep -q 'brought up to date'; do
	[ $((flushes *= 2)) -le 2000 ] || fail 'it is never up to date'
	yes flush | head -n "$flushes" >script
	ubd-compose replay tree.json script >.out 2>.err || fail "replay: $(cat .err)"
done
with d1 'save 0 524288 alone'
cmp alone winner || fail 'brought up to date, it shows something else'
ok 'it is brought up to date'
replay 'read 0 512' --take-back=saved
expect 'with nobody given up there is nothing to do' \
	'ubd-compose: --take-back has nothing to do: no leg that is there was given up' "$(grep -v 'brought up to date' .err)"

# Whom the user decides against in the same start is saved too; and what can't be believed is saved whole.
rm -rf saved winner now
mkdir saved
cp d0.lost d0.img
cp d1.lost d1.img
dd if=/dev/zero of=d0.img bs=512 seek=$((4 * 2048 + 8)) count=64 conv=notrunc 2>/dev/null # its bitmap
replay 'read 8192 8192 3' --prefer=d1 --take-back=saved
expect 'without its bitmap all that differs is saved' '[[0,4096],[8192,8192],[131072,4096],[262144,4096],[278528,4096],[393216,4096]]' \
	"$(tr -d ' \n' <saved/vol0.d0.json | sed 's/.*"ranges":\(.*\),"saved".*/\1/')"
