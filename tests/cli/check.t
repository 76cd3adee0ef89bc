# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `check` says what create would do, and touches nothing.
. "$(dirname "$0")/lib.sh"

tree stripe >tree.json
ubd-compose check tree.json >out 2>err || fail "check refuses a good tree: $(cat err)"
expect 'the leaves would be made' 2 "$(grep -c 'will be made' out)"
expect 'size and blocks are told' 1 "$(grep -c '^  16777216 bytes in blocks of 512' out)"
rm out err
leaves_nothing check tree.json

ubd-compose check --json tree.json >out.json 2>err
expect 'JSON has the size as a number' 1 "$(grep -c '^  "size": 16777216,$' out.json)"
expect 'JSON has each leaf'\''s action' 2 "$(grep -c '"action": "make"' out.json)"
rm out.json err

answers 'a document that is missing' 1 '' 'ubd-compose: cannot open none.json: No such file or directory' ubd-compose check none.json

tree stripe '"chunk_size": 3000,' >bad.json
answers 'one fault' 1 '' 'ubd-compose: stripe: chunk_size 3000 is not a power of two (bad.json:2, /root/chunk_size)' \
	ubd-compose check bad.json
cat >bad.json <<'END'
{ "format": 1, "name": "vol0",
  "root": { "type": "strip", "children": [] },
  "device": { "queues": 1000 } }
END
ubd-compose check bad.json >out 2>err && fail 'a bad document is accepted'
[ "$(wc -l <err)" -ge 2 ] || fail "independent faults are not told together: $(cat err)"
[ "$(grep -c '^ubd-compose: .*(bad.json:[23],' err)" = "$(wc -l <err)" ] || fail "messages without place: $(cat err)"
[ ! -s out ] || fail 'a refused document has output'
ok 'independent faults are told together, each with its place'
rm out err
cat >bad.json <<'END'
{ "format": 1, "name": "vol0", "device": { "max_io_size": 5000 },
  "root": { "type": "stripe", "chunk_size": 3000, "children": [
    { "id": "d0", "type": "file", "path": 7 },
    { "id": "d1", "type": "stripe", "chunk_size": 5000, "children": [
      { "id": "d2", "type": "file", "path": "a", "size": 0 },
      { "id": "d2", "type": "file", "path": "b", "sise": 1 } ] } ] } }
END
answers 'what the schema can say and what the targets can are told in one run' 1 '' \
	'ubd-compose: file: path must be a string, not 7 (bad.json:3, /root/children/0/path)
ubd-compose: file: unknown key "sise"; did you mean "size"? (bad.json:6, /root/children/1/children/1/sise)
ubd-compose: max_io_size 5000 is not a multiple of 4096 from 4096 to 4194304 (bad.json:1, /device/max_io_size)
ubd-compose: stripe: chunk_size 3000 is not a power of two (bad.json:2, /root/chunk_size)
ubd-compose: stripe: chunk_size 5000 is not a power of two (bad.json:4, /root/children/1/chunk_size)
ubd-compose: file: size 0, the least is one block (bad.json:5, /root/children/1/children/0/size)' \
	ubd-compose check bad.json

tree stripe >tree.json
mkdir d0.img
ubd-compose check tree.json >out 2>err && fail 'a directory as leaf is accepted'
grep -q 'd0.img' err || fail "the directory is not named: $(cat err)"
ok 'a directory as a leaf is refused by name'
