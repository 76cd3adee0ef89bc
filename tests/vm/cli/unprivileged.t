# vm: -k any -t 120
# drivers: ublk
# Somebody who isn't root serves his own files through ublk, where an administrator lets him; what he can't have is refused.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh

load_driver
user=1000
mkdir -p /srv/home /srv/run
chmod 700 /srv/home /srv/run
chown $user:$user /srv/home /srv/run
chmod 755 /srv
cp guest.sh /srv/home
echo "user:x:$user:$user::/srv/home:/bin/sh" >>/etc/passwd
as_user() { su -s /bin/sh user -c "XDG_RUNTIME_DIR=/srv/run exec $*"; } # no word has a blank in it
# tree EXTRA
tree() {
	cat >/srv/home/tree.json <<END
{ "format": 1, "name": "mine", "device": { "driver": "ublk", "queue_depth": 32 $1 },
  "root": { "id": "s0", "type": "stripe", "children": [
    { "id": "d0", "type": "file", "path": "a", "size": "16MiB", "direct": false },
    { "id": "d1", "type": "file", "path": "b", "size": "16MiB", "direct": false } ] } }
END
}
create() { as_user ubd-compose create /srv/home/tree.json 2>&1 | grep '^ubd-compose: \|^/dev/'; }

tree ''
expect 'the control node is root'\''s' 'ubd-compose: /dev/ublk-control: Permission denied; devices are made by root' "$(create)"
chmod 666 /dev/ublk-control
expect 'so is a device'\''s, if nobody gives it away' 1 \
	"$(create | grep -c '^ubd-compose: /dev/ublkc0: no permission: udev has to give it .*; root removes it: delete --orphan ublkb0$')"
ubd-compose delete --orphan ublkb0 || fail 'root does not remove it'
within 'root has removed it' 30 test ! -e /dev/ublkc0
expect 'the files that were made are gone' 'guest.sh tree.json' "$(ls /srv/home | xargs)"

# What udev would do.
while true; do
	chown $user /dev/ublkc* /dev/ublkb* 2>/dev/null || true
	sleep 0.02
done &
udev=$!
tree ', "recovery": "reissue"'
expect 'a disk that outlives its daemon is refused' 1 "$(create | grep -c '^ubd-compose: recovery needs root (CAP_SYS_ADMIN): .* (.*tree.json:1, /device/recovery)$')"
tree ', "fan_out": "passthrough"'
expect 'so are the pages of others' 1 "$(create | grep -c '^ubd-compose: fan_out "passthrough" needs root (CAP_SYS_ADMIN): .* (.*tree.json:1, /device/fan_out)$')"
tree ''
create >created
expect 'a device of his own files' /dev/ublkb0 "$(grep ^/dev/ created || tail -n 3 created)"
within 'its disk becomes his' 30 as_user test -w /dev/ublkb0
expect 'its daemon is his' $user "$(stat -c %u "/proc/$(as_user ubd-compose status --json mine | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')")"
as_user fio --name=verify --filename=/dev/ublkb0 --ioengine=io_uring --direct=1 --size=16m --iodepth=8 --rw=randwrite --bs=4k \
	--verify=crc32c --verify_fatal=1 --minimal >fio.out 2>&1 || fail "fio: $(cat fio.out)"
ok 'he reads what he has written'
expect 'he sees it in his list' 1 "$(as_user ubd-compose list | grep -c '^mine .* running$')"
expect 'and deletes it' '' "$(as_user ubd-compose delete mine 2>&1)"
within 'it is gone' 30 test ! -e /dev/ublkc0
kill $udev
no_hung_tasks
unload_driver
