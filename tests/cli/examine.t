# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `examine` shows labels, damaged ones as far as they go, and gives the document back. It writes nothing.
. "$(dirname "$0")/lib.sh"

# What varies from run to run: UUIDs and times.
steady() { sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/; s/[0-9]{4}-[0-9-]{5}T[0-9:]{8}Z/TIME/' "$1"; }
examine() { ubd-compose examine "$@" >.out 2>.err || echo "status $?" >>.err; }
# flip OFFSET: one bit of d0.img
flip() {
	_byte=$(od -An -tu1 -j "$1" -N 1 d0.img)
	# shellcheck disable=SC2059 # the format is the byte
	printf "$(printf '\\%03o' $((_byte ^ 1)))" | dd of=d0.img bs=1 seek="$1" conv=notrunc 2>/dev/null
}

tree mirror >tree.json
echo 'write 0 4096 1' | ubd-compose replay tree.json - >.out 2>.err || fail "replay: $(cat .err)"
sum=$(cat d0.img d1.img | cksum)

examine d1.img
expect 'no message for a whole label' '' "$(cat .err)"
expect 'a whole label' 'd1.img
  magic        UBDLABEL, version 1
  tree         UUID  vol0
  leaf         UUID  d1
  place        1 of 2 in mirror(region_size=auto)[leaf,leaf]
  data         8388608 bytes (8 MiB) from byte 4194304
  generation   8, written TIME
  flags        served
  features     incompatible 0x0, compatible 0x1, read-only compatible 0x0
  first  copy  generation 8, whole
  second copy  generation 7, whole
  document     whole; --export prints it
  place  leaf          state    last seen at generation
      0  d0            in sync  7
      1  d1            in sync  7  (this leaf)' "$(steady .out)"
examine --json d0.img d1.img
expect 'JSON has both leaves, and both copies of each' 6 "$(grep -c '"state": "whole",' .out)"
expect 'and what each copy is' 4 "$(grep -c '"fault": "none",' .out)"
expect 'and no sentence' 0 "$(grep -c '"[a-z]* [a-z]* [a-z]*' .out || true)"
python3 -c 'import json,sys; j=json.load(open(".out")); assert [l["id"] for l in j]==["d0","d1"] and j[0]["peers"][1]=={"place":1,"id":"d1","state":"in_sync","generation":7}, j' ||
	fail 'the JSON is not what it should be'
ok 'JSON is JSON, with the peers'
ubd-compose examine --export d1.img >out.json
expect 'the document is given back' "$(cat tree.json)" "$(cat out.json)"
rm out.json
expect 'nothing was written' "$sum" "$(cat d0.img d1.img | cksum)"

flip 120 # flags, in the first copy
examine d0.img
expect 'a damaged copy is told, and the other one is shown' \
	'  first  copy  generation 8 (can'\''t be believed), DAMAGED: the checksum of its head is wrong
  second copy  generation 7, whole' "$(grep copy .out | grep -v features)"
expect 'which is no failure' '' "$(cat .err)"
flip 2101248 # a peer, in the second copy
examine d0.img
expect 'no whole copy is' 'ubd-compose: d0.img: no copy of its label is whole: of the best, the checksum of its peers is wrong
status 1' "$(cat .err)"
expect 'what is left of it is shown' '  generation   7, written TIME
  place  leaf          state    last seen at generation  (DAMAGED: can'\''t be believed)' \
	"$(steady .out | grep -E 'generation  ')"
expect 'the document is whole still' "$(cat tree.json)" "$(ubd-compose examine --export d0.img)"
flip 2097152 # its magic
examine --export d0.img
expect 'without a head it has no proof' 'ubd-compose: d0.img: the checksum of this document is wrong, or its label'\''s head is damaged: look at it before you use it' \
	"$(cat .err)"
expect 'and is given back' "$(cat tree.json)" "$(cat .out)"
flip 32768 # its first brace
flip 32769
examine --export d0.img
grep -q 'd0.img:1:1' .err || fail "a document that is no JSON is not told: $(cat .err)"
expect 'what is no JSON is not given back' '' "$(cat .out)"

answers 'a file without a label' 1 '' 'ubd-compose: tree.json carries no label' ubd-compose examine tree.json
answers 'a missing file and a directory' 1 '' 'ubd-compose: none.img: No such file or directory
ubd-compose: /dev is neither a regular file nor a block device' ubd-compose examine none.img /dev
answers 'two documents at once' 2 '' 'ubd-compose examine: --export takes one LEAF
Try: ubd-compose examine --help' ubd-compose examine --export d0.img d1.img
