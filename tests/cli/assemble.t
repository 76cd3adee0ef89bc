# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `assemble` makes a tree of leaves alone: whatever their order and their paths, but only of what belongs together.
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2086 # no option is no word
replay() { echo "$1" | ubd-compose replay ${2-} tree.json - >.out 2>.err || fail "replay $*: $(cat .out .err)"; }
check() { ubd-compose assemble --check "$@" >.out 2>.err || fail "assemble --check $*: $(cat .err)"; }
steady() { sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g; s/[0-9]{4}-[0-9-]{5}T[0-9:]{8}Z/TIME/g' "$1"; }
# refused WHAT MESSAGES ARGUMENTS...
refused() {
	_what=$1 _messages=$2
	shift 2
	if ubd-compose assemble --check "$@" >.out 2>.err; then fail "$_what: succeeded"; fi
	expect "$_what" "$_messages" "$(steady .err)"
	expect "$_what: no output" '' "$(cat .out)"
}

tree stripe >tree.json
replay 'write 0 65536 1'
cp d0.img first.img
mkdir elsewhere
mv d0.img elsewhere/one
mv d1.img elsewhere/two
rm tree.json
sum=$(cat elsewhere/* | cksum)
check elsewhere/two elsewhere/one
expect 'the tree is there, in any order and place' "top  stripe  16 MiB
d0  file  8 MiB  $directory/elsewhere/one  recognised by its label
d1  file  8 MiB  $directory/elsewhere/two  recognised by its label" "$(sed -n 's/^.*\(\(top\|d[01]\)  [sf]\)/\1/p' .out | sed 's/ *chunk_size=.*//')"
expect 'under its own name' 'vol0  16 MiB' "$(head -n 1 .out)"
check --name=other elsewhere/one elsewhere/two
expect 'or another' 'other  16 MiB' "$(head -n 1 .out)"
expect 'and nothing is written' "$sum" "$(cat elsewhere/* | cksum)"

refused 'one is missing' \
	"ubd-compose: file d1: it is missing: none of the leaves given is leaf 1 of the tree, which was d1.img (label of elsewhere/one:5, /root/children/1/path)" \
	elsewhere/one
refused 'a copy' 'ubd-compose: first.img is a copy of elsewhere/one: both have the same label' elsewhere/one first.img elsewhere/two
refused 'one twice' 'ubd-compose: elsewhere/../elsewhere/one and elsewhere/one are the same file' elsewhere/one elsewhere/../elsewhere/one
refused 'no label' 'ubd-compose: .out carries no label
ubd-compose: none: No such file or directory' elsewhere/one .out none
answers 'a name that is none' 2 '' \
	'ubd-compose: name "a b" is not a name: letters, digits and . _ - with a letter or digit first (--name:1, /name)' ubd-compose assemble --name 'a b' elsewhere/one

# Another tree's leaf; and one that claims a place that is taken.
tree stripe | sed 's/vol0/vol1/' >tree.json
replay 'write 0 4096 2'
refused 'two trees' 'ubd-compose: d1.img belongs to the tree vol1 (UUID), but elsewhere/one belongs to vol0 (UUID)' elsewhere/one d1.img
rm -f ./*.img elsewhere/*

# A mirror: without a leg, and with legs that went on alone.
tree mirror >tree.json
replay 'write 0 4096 1'
mv d1.img d1.away
check --degraded d0.img
expect 'degraded, the missing leg is named' \
	"ubd-compose: mirror top: leg d1 (d1.img) is not there and is not used; 1 of 2 legs in sync" "$(grep -v 'driver is loaded\|create would' .err)"
replay 'write 0 4096 2' --degraded
mv d0.img d0.away
mv d1.away d1.img
replay 'write 0 4096 3' --degraded
mv d0.away d0.img
refused 'diverged legs' "ubd-compose: mirror top: its legs have diverged, none is known to have all writes: d1 ($directory/d1.img; generation 12, written TIME) says that d0 ($directory/d0.img) missed writes, and last saw it at generation 7; d0 ($directory/d0.img; generation 12, written TIME) says that d1 ($directory/d1.img) missed writes, and last saw it at generation 7. --prefer=LEAF goes on with one of them and gives the others up (label of d0.img:2, /root)" \
	d0.img d1.img
check --prefer=./d1.img d0.img d1.img
expect 'one is preferred, by its path' "ubd-compose: mirror top: leg d0 ($directory/d0.img) is given up and is not used; 1 of 2 legs in sync" \
	"$(grep -v 'driver is loaded\|create would' .err)"
replay 'read 0 4096 3' --prefer=d1
replay 'read 0 4096 3'
ok 'what it has is what is read from then on'
expect 'the other one says so' '  flags        served given_up' "$(ubd-compose examine d0.img | grep flags)"
