# shellcheck shell=sh source-path=SCRIPTDIR/..
# vm: -k 6.12 -d 64M -d 64M -t 120
# drivers: ubd ublk
# Leaves that are in use are looked at, not wiped; and a device is made of them alone, whatever they are called now.
. ./guest.sh

load_driver
sectors=$(blockdev --getsz /dev/vda)
echo "0 $sectors linear /dev/vda 0" | dmsetup create one
cat >tree.json <<'EOT'
{ "format": 1, "name": "m",
  "root": { "id": "m0", "type": "mirror", "children": [
    { "id": "d0", "type": "block", "path": "/dev/mapper/one" },
    { "id": "d1", "type": "block", "path": "/dev/vdb" } ] } }
EOT
device=$(ubd-compose create tree.json)
echo one | dd of="$device" bs=4096 conv=sync oflag=direct 2>/dev/null
expect 'examine looks at leaves in use' 2 "$(ubd-compose examine /dev/mapper/one /dev/vdb | grep -c 'flags        open served')"
refuses 'wipe does not' ubd-compose wipe /dev/vdb 2>err
grep -q '^ubd-compose: /dev/vdb is in use: ' err || fail "the holder is not named: $(cat err)"
ok 'and says so'
ubd-compose delete m
dmsetup remove one
rm tree.json

device=$(ubd-compose assemble --name again /dev/vdb /dev/vda 2>err) || fail "assemble: $(cat err)"
expect 'it is called as asked' again "$(ubd-compose list | sed -n '2s/ .*//p')"
expect 'what was written is there' one "$(dd if="$device" bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1)"
refuses 'not twice' ubd-compose assemble /dev/vdb /dev/vda
ubd-compose delete again
expect 'the labels have got the name' again "$(ubd-compose examine --export /dev/vda | sed -n 's/.*"name": "\([a-z]*\)".*/\1/p')"
expect 'and the paths' '/dev/vda /dev/vdb' "$(ubd-compose examine --export /dev/vdb | grep -o '/dev/vd.' | xargs)"

# After a crash one leg alone can't prove that it has everything.
ubd-compose assemble /dev/vda /dev/vdb >/dev/null
kill -9 "$(ubd-compose status --json again | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
within 'the daemon is gone' 10 sh -c 'ubd-compose assemble --check /dev/vda /dev/vdb >out 2>err'
refuses 'a leg alone is not served' ubd-compose assemble --degraded /dev/vda 2>err
grep -q 'nobody is left to say whether d0 (/dev/vda) missed writes' err || fail "it is not told why: $(cat err)"
device=$(ubd-compose assemble --degraded --prefer /dev/vda /dev/vda 2>err) || fail "--prefer: $(cat err)"
expect 'unless the user says so' one "$(dd if="$device" bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1)"
ubd-compose delete again
ubd-compose wipe /dev/vda /dev/vdb >out
expect 'both can be wiped now' 2 "$(grep -c 'removed the label of leaf [01] of the tree again' out)"
refuses 'and then are nobody'\''s' ubd-compose examine /dev/vda
