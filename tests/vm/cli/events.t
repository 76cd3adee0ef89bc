# shellcheck shell=sh source-path=SCRIPTDIR/..
# vm: -k 6.12 -d 32M -d 32M -t 120
# drivers: ubd ublk
# What happens to a device is told: kept by its daemon, to those who follow, and to the program that the document names.
. ./guest.sh

load_driver
dmsetup create leg --table '0 65536 linear /dev/vdb 0'
cat >hook <<'END'
#!/bin/sh
cat >>/tmp/hooked
echo >>/tmp/hooked
END
chmod 755 hook
cp hook /tmp/hook
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "device": { "hook": "/tmp/hook" },
  "root": { "id": "m0", "type": "mirror", "children": [
    { "id": "d0", "type": "block", "path": "/dev/vda" },
    { "id": "d1", "type": "block", "path": "/dev/mapper/leg" } ] } }
END
# words FILE: its lines without their times
words() { sed 's/^[^ ]*Z //' "$1"; }

ubd-compose events --follow >all &
device=$(ubd-compose create tree.json)
ubd-compose events --follow vol0 >followed &
follower=$!
ubd-compose events --follow --json vol0 >followed.json &
within 'the follower hears what was before' 10 grep -q ' vol0 created ' followed
dmsetup suspend leg
dmsetup load leg --table '0 65536 error'
dmsetup resume leg
dd if=/dev/urandom of="$device" bs=64k count=4 oflag=direct 2>/dev/null || fail 'the user sees the failure'
within 'the failure is heard of' 10 grep -q ' leg_failed ' followed
expect 'and kept' "vol0 created $device id=0
vol0 leg_failed d1 (block /dev/mapper/leg) of m0" "$(ubd-compose events vol0 >out && words out)"
ubd-compose delete vol0
wait "$follower" || fail "the follower ends with $?"
expect 'all of it was heard' "vol0 created $device id=0
vol0 leg_failed d1 (block /dev/mapper/leg) of m0
vol0 deleted" "$(words followed)"
expect 'as JSON too' 3 "$(grep -c '^{"time":"[0-9TZ:.-]*","serial":[0-2],"device":"vol0","event":"[a-z_]*".*}$' followed.json)"
within 'and by who follows all' 10 grep -q ' vol0 deleted' all
within 'the hook was run for each' 10 sh -c 'test "$(grep -c "^{.*}$" /tmp/hooked)" = 3'
expect 'in order' 'created leg_failed deleted' "$(sed 's/.*"event":"\([a-z_]*\)".*/\1/' /tmp/hooked | xargs)"

# Degraded, and after a crash.
device=$(ubd-compose create --degraded tree.json 2>err) || fail "create --degraded: $(cat err)"
expect 'what is left out is an event' 1 "$(ubd-compose events | grep -c ' leg_left_out d1 ')"
ubd-compose events --follow vol0 >followed 2>err &
follower=$!
within 'it is followed' 10 grep -q ' created ' followed
kill -9 "$(ubd-compose status --json vol0 | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
status=0
wait "$follower" || status=$?
expect 'a daemon that is killed is told' "1 ubd-compose: vol0: its daemon is gone" "$status $(cat err)"
sed -i 's|/tmp/hook"|/tmp/none"|' tree.json
refuses 'a hook that is not there' ubd-compose create tree.json 2>err
expect 'is named' 'ubd-compose: hook /tmp/none can'\''t be run: No such file or directory' "$(cat err)"
no_hung_tasks 'nothing hangs'
