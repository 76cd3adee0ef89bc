# shellcheck shell=sh
# vm: -k 6.12 -d 64M -d 64M -d 64M
# Both drivers at once: "auto" takes ubd, numbers are each driver's own, and a device of one is no leaf of the other.
. ./guest.sh

tree() {
	echo "{ \"format\": 1, \"name\": \"$1\", \"device\": { \"driver\": \"$2\" },
\"root\": { \"id\": \"d0\", \"type\": \"block\", \"path\": \"$3\" } }" >"$1.json"
}

tree auto auto /dev/vdc
modprobe ublk_drv
expect 'auto takes ublk where there is no ubd' /dev/ublkb0 "$(ubd-compose create auto.json 2>/dev/null)"
modprobe ubd
tree ours ubd /dev/vda
expect 'ubd is insisted on' /dev/ubdb0 "$(ubd-compose create ours.json 2>/dev/null)"
expect 'a number that both have is refused' 'ubd-compose: "0" could be /dev/ublkb0 or /dev/ubdb0; name it so' \
	"$(ubd-compose status 0 2>&1)"
expect 'the path tells' 1 "$(ubd-compose status /dev/ublkb0 | grep -c '^auto  ')"
expect 'so does the word' 1 "$(ubd-compose status ubdb0 | grep -c '^ours  ')"
tree above ubd /dev/ublkb0
expect 'a ublk device of ours is no leaf of ubd' 1 \
	"$(ubd-compose create above.json 2>&1 | grep -c '/dev/ublkb0 is a device of ubd-compose; put its tree')"
ubd-compose delete auto
expect 'auto takes ubd where both are' /dev/ubdb1 "$(ubd-compose create auto.json 2>/dev/null)"
tree mainline ublk /dev/vdb
expect 'ublk is insisted on' /dev/ublkb0 "$(ubd-compose create mainline.json 2>/dev/null)"
expect 'the list tells them apart' 'ubd ubd ublk' "$(ubd-compose list | sed -n 's/.* \(ubd\|ublk\)  *running$/\1/p' | sort | xargs)"

kill -9 "$(ubd-compose status --json mainline | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
within 'the disk goes' 10 test ! -e /sys/block/ublkb0
rm /run/ubd-compose/mainline.*
expect 'an orphan is told by its driver' 'ubd-compose: "0" could be /dev/ubdb0 or /dev/ublkb0; name it so' \
	"$(ubd-compose delete --orphan 0 2>&1)"
expect 'and deleted by its name' '' "$(ubd-compose delete --orphan ublkb0 2>&1)"
for name in ours auto; do ubd-compose delete $name; done
expect 'nothing is left' '/dev/ubd-control /dev/ublk-control' "$(echo /dev/ubd* /dev/ublk*)"
no_hung_tasks 'nothing hangs'
rmmod ubd
rmmod ublk_drv
