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
answers 'a script that is missing' 1 '' 'ubd-compose: none: No such file or directory' ubd-compose replay tree.json none
leaves_nothing 'a missing script' 'script tree.json'
