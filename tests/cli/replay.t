# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `replay` serves a tree without driver and root: what was written is read back, also by the next run.
. "$(dirname "$0")/lib.sh"

tree mirror >tree.json
cat >script <<'END'
write 0 65536 1
write 1048576 4096 2 fua
flush
read 0 65536 1
read 1048576 4096 2
END
ubd-compose replay tree.json script >out 2>err || fail "replay: $(cat out err)"
ok 'what was written is read back'
printf 'read 0 65536 1\nread 1048576 4096 2\n' | ubd-compose replay tree.json - >out 2>err || fail "again: $(cat out err)"
ok 'and is there in the next run'
status=0
echo 'read 0 65536 3' | ubd-compose replay tree.json - >out 2>err || status=$?
expect 'a read that differs is a failure' 1 "$status"
cp d0.img before
rm d0.img d1.img
echo 'bogus 1 2' | ubd-compose replay tree.json - >out 2>err && fail 'a bad script is accepted'
grep -q 'bogus' err || fail "the bad line is not told: $(cat err)"
ok 'a bad script is refused'
rm -f d0.img d1.img before out err
printf 'write 0 65536 1\nsave 4096 8192 part\nread 4096 4096\n' | ubd-compose replay tree.json - >out 2>err || fail "save: $(cat out err)"
expect 'save writes what was asked for' 8192 "$(stat -c %s part)"
printf 'write 0 8192 1\nsave 0 4096 whole\n' | ubd-compose replay tree.json - >out 2>err || fail "save: $(cat out err)"
cmp -s whole part && fail 'two ranges are saved as the same bytes'
ok 'and the bytes of that range'
printf 'save 0 4096 no/where\n' | ubd-compose replay tree.json - >out 2>err && fail 'a file that cannot be made is accepted'
grep -q 'no/where' err || fail "the file that can't be made is not told: $(cat err)"
rm -f d0.img d1.img part whole out err
answers 'a script that is missing' 1 '' 'ubd-compose: none: No such file or directory' ubd-compose replay tree.json none
leaves_nothing 'a missing script' 'script tree.json'
