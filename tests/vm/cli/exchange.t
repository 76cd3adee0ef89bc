# vm: -k any -d 192M -t 420
# drivers: ubd ublk
# A leg's disk is exchanged while the device is in use: given up, closed, and a blank or the old one is added in its place. No request
# fails. By `remove` and `add`, and by the options of `recover` that they stand on.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

load_driver
disk=/dev/$disk0
mkfs.ext4 -q /dev/vda
mkdir -p leaves mnt
mount /dev/vda leaves
truncate -s 32M leaves/a leaves/b
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "device": { "recovery": "reissue", "recovery_timeout": 600 },
  "root": { "id": "m0", "type": "mirror", "region_size": "64KiB", "recovery_rate": { "min": "64MiB", "max": "1GiB" }, "children": [
    { "id": "d0", "type": "file", "path": "leaves/a" }, { "id": "d1", "type": "file", "path": "leaves/b" } ] } }
END
[ "$DRIVER" = ubd ] || sed -i 's/, "recovery_timeout": 600//' tree.json # ublk waits for ever
status() { ubd-compose status --json vol0 | tr -d ' \n'; }
legs_are() { case $(status) in *"\"leg_states\":$1"*) true ;; *) false ;; esac; }
refused() { "$@" 2>&1 >/dev/null || :; }
files() { ls -l "/proc/$(pid_of)/fd"; }
# Its daemon has a, and nothing of b any more, which anybody may have.
is_closed() {
	legs_are '["in_sync","failed"]' || fail "$1: it goes on with $(status)"
	files | grep -q leaves/a || fail "$1: its files: $(files)"
	! files | grep -q leaves/b || fail "$1: the leaf that is out is still open"
	ok "$1"
}
is_whole() { within "$1" 20 legs_are '["in_sync","in_sync"]'; }
to() { "$@" >/dev/null 2>said || fail "$*: $(cat said)"; }

sed 's/"recovery": "reissue"[^}]*//' tree.json >plain.json
to ubd-compose create plain.json
to ubd-compose fail vol0 d1
expect 'without "recovery" it is said what the document lacks' 1 "$(refused ubd-compose remove vol0 d1 | grep -c '^ubd-compose: vol0 has no "recovery" ')"
to ubd-compose add vol0 d1
is_whole 'and the leg can still be added'
ubd-compose delete vol0
to ubd-compose create tree.json
if is_old_ublk; then
	to ubd-compose fail vol0 d1
	expect 'an older ublk is told so' 1 "$(refused ubd-compose remove vol0 d1 | grep -c '^ubd-compose: driver "ublk" takes a disk from a living daemon from Linux 6.16 on; ')"
	to ubd-compose add vol0 d1
	is_whole 'and its leg can still be added'
	ubd-compose delete vol0
	exit 0
fi
mkfs.ext4 -q $disk
mount $disk mnt
fio --name=load --ioengine=io_uring --directory=mnt --size=4m --iodepth=8 --rw=randwrite --bsrange=4k-64k --blockalign=4k \
	--fsync=64 --time_based --runtime=600 --verify=crc32c --verify_fatal=1 --minimal >fio.out 2>&1 &
loader=$!

expect 'a leg in sync is not removed' 'ubd-compose: vol0: mirror m0: leg d1 is in sync; only one that has failed, or stands by, can be removed: `fail` it first' \
	"$(refused ubd-compose remove vol0 d1)"
to ubd-compose fail vol0 d1
to ubd-compose remove vol0 d1
expect 'one that has failed is' 1 "$(grep -c 'mirror m0: leg d1 (.*leaves/b) was removed and is not used; 1 of 2 legs in sync' said)"
is_closed 'what was the leg is closed'
expect 'once' 'ubd-compose: vol0: leg d1 is removed already' "$(refused ubd-compose remove vol0 d1)"
to ubd-compose recover vol0
is_closed 'a next daemon leaves it out'
cat >other.json <<'END'
{ "format": 1, "name": "vol1", "root": { "id": "f0", "type": "file", "path": "leaves/b" } }
END
to ubd-compose create --force other.json
kill -9 "$(pid_of)"
to ubd-compose recover vol0
ok 'as does one after a crash, whoever has it by now'
ubd-compose delete vol1
expect 'what it holds then is not overwritten' 2 \
	"$(refused ubd-compose add vol0 d1 | grep -cE 'b holds a leaf of the tree vol1, .* once it is wiped it can be added|vol0 is served on as it was')"
is_closed 'nor is it kept open'

rm leaves/b
truncate -s 32M leaves/b
to ubd-compose add vol0 d1
expect 'a blank one is added' 1 "$(grep -c 'd1: .*leaves/b is formatted and added' said)"
is_whole 'it is brought up to date'
to ubd-compose fail vol0 d1
to ubd-compose remove vol0 d1
is_closed 'it goes again'
to ubd-compose add vol0 d1
expect 'and comes back as it was' 1 "$(grep -c 'leg d1 (.*leaves/b) missed writes and is brought up to date' said)"
is_whole 'with what it has missed'

to ubd-compose fail vol0 d1
rm leaves/b
to ubd-compose recover --degraded vol0
is_closed 'what is lost is closed'
truncate -s 32M leaves/b
refuses 'a blank leaf' ubd-compose recover vol0
to ubd-compose recover --add vol0
expect 'that is told' 1 "$(grep -c 'd1: .*leaves/b is formatted and added' said)"
is_whole 'and brought up to date'
kill $loader
wait $loader || :
expect 'no request has failed' '' "$(grep -iE 'error|verify|bad' fio.out)"
umount mnt
e2fsck -fn $disk >/dev/null || fail 'e2fsck'
to ubd-compose fail vol0 d1
expect 'in a device that nobody uses' $disk "$(ubd-compose remove vol0 d1 2>/dev/null)"
ubd-compose delete vol0
to ubd-compose create tree.json
is_closed 'a create leaves a removed leg out as well'
to ubd-compose add vol0 d1
is_whole 'until it is added'
ubd-compose delete vol0
# The data of each begin behind 4 MiB of label and 1 MiB of bitmap.
data_of() { dd if="$1" bs=64k skip=80 count=400 2>/dev/null | md5sum; }
expect 'both legs hold the same' "$(data_of leaves/a)" "$(data_of leaves/b)"
umount leaves
no_hung_tasks 'nothing hangs'
