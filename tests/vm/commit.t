# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k 6.12 -d 900M -m 1024 -t 480
# A commit of an image into its backing while fio writes and verifies; killed in the middle, and done by the next daemon.
. ./guest.sh

load_driver
make_legs
cd /legs

qemu-img create -q -f raw base.img 128M
dd if=/dev/urandom of=base.img bs=1M count=64 conv=notrunc 2>/dev/null
qemu-img create -q -f qcow2 -b base.img -F raw volume.qcow2 128M
cat >tree.json <<'END'
{ "format": 1, "name": "v0", "root": { "type": "thin", "data": { "type": "file", "path": "volume.qcow2" },
    "commit": true, "backing": { "type": "file", "path": "base.img" } } }
END
sed 's/"v0"/"v1"/; s/volume/other/; s/"commit": true,//' tree.json >other.json
qemu-img create -q -f qcow2 -b base.img -F raw other.qcow2 128M

state_of() { ubd-compose status v0 --json | sed -n 's/^ *"commit": *"\([a-z]*\)".*/\1/p'; }
number_of() { ubd-compose status v0 --json | sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p"; }
await_commit() {
	i=0
	until [ "$(state_of)" = "done" ]; do
		i=$((i + 1))
		[ $i -lt 900 ] || fail "commit doesn't end: $(ubd-compose status v0)"
		[ "$(state_of)" = running ] || [ "$(state_of)" = "done" ] || fail "commit: $(ubd-compose status v0)"
		sleep 0.1
	done
}
load() { # NAME FIO-OPTION...
	name=$1
	shift
	fio --name="$name" --filename="$device" --ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 --iodepth=16 "$@" >"$name.out" 2>&1
}

ubd-compose create other.json >other.out || fail "create of another image over the backing: $(cat other.out)"
ubd-compose create tree.json >busy.out 2>&1 && fail 'a backing that another device reads is opened for writing'
grep -q 'base.img' busy.out || fail "who has the backing: $(cat busy.out)"
ubd-compose delete v1
device=$(ubd-compose create tree.json) || fail 'create'
ubd-compose create other.json >busy.out 2>&1 && fail 'a backing that is written is opened by another'
ok 'a backing that is to be written is nobody else'\''s'

load fill --rw=write --bs=64k --size=96M || fail "fio: $(cat fill.out)"
load beside --rw=randrw --bsrange=4k-128k --offset=8M --size=80M --io_size=64M --loops=2 &
writer=$!
sleep 1
ubd-compose commit v0 || fail 'commit'
ubd-compose status v0 | grep -q commit || fail "status: $(ubd-compose status v0)"
await_commit
wait $writer || fail "fio beside a commit: $(cat beside.out)"
grep -q 'err= 0' beside.out || fail "fio beside a commit: $(cat beside.out)"
pause=$(number_of commit_pause_us)
ubd-compose events v0 | grep -q committed || fail "events: $(ubd-compose events v0)"
ok "fio finds its bytes beside a commit, of which one run kept others waiting for $((pause / 1000)) ms at most"
ubd-compose commit v0 || fail 'commit of what was written meanwhile'
await_commit
[ "$(number_of allocated)" = 0 ] || fail "the image isn't empty: $(ubd-compose status v0)"
dd if="$device" of=all bs=1M iflag=direct 2>/dev/null
ubd-compose delete v0 || fail 'delete'
cmp all base.img || fail 'the backing holds something else'
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
qemu-img compare -q -f qcow2 -F raw volume.qcow2 all || fail 'qemu-img reads something else'
ok 'all of it is in the backing then'

device=$(ubd-compose create tree.json) || fail 'create again'
load more --rw=randwrite --bs=16k --size=128M --io_size=48M --do_verify=0 || fail "fio: $(cat more.out)"
blkdiscard --offset $((100 << 20)) --length $((20 << 20)) "$device" || fail 'blkdiscard'
dd if="$device" of=all bs=1M iflag=direct 2>/dev/null
ubd-compose commit v0 --rate=8M || fail 'commit with a rate'
sleep 2
[ "$(state_of)" = running ] || fail "the rate isn't kept: $(ubd-compose status v0)"
pid=$(ubd-compose status v0 --json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' | head -n 1)
kill -9 "$pid"
i=0
until device=$(ubd-compose create tree.json 2>err); do
	i=$((i + 1))
	[ $i -lt 50 ] || fail "create after a kill: $(cat err)"
	sleep 0.2
done
cmp all "$device" || fail 'after a kill in a commit the device holds something else'
[ "$(number_of allocated)" != 0 ] || fail 'nothing was left to be committed'
ubd-compose commit v0 --keep || fail 'commit --keep'
await_commit
cmp all base.img || fail 'with --keep something else is in the backing'
[ "$(number_of allocated)" != 0 ] || fail 'with --keep the image is empty'
ubd-compose commit v0 && await_commit
[ "$(number_of allocated)" = 0 ] || fail "the image isn't empty: $(ubd-compose status v0)"
cmp all "$device" || fail 'the device holds something else'
ubd-compose delete v0 || fail 'delete'
cmp all base.img || fail 'the backing holds something else'
qemu-img check -q volume.qcow2 || fail "check: $(qemu-img check volume.qcow2 2>&1)"
ok 'a commit that was killed is done by the next daemon'
