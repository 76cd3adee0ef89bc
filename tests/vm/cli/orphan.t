# shellcheck shell=sh
# vm: -k any -d 64M -d 64M
# drivers: ubd ublk
# A device whose daemon is gone and that no name leads to: listed as an orphan, and removed without a reboot.
. ./guest.sh

load_driver
tree() { echo "{ \"format\": 1, \"name\": \"$1\", \"root\": { \"id\": \"d0\", \"type\": \"block\", \"path\": \"$2\" } }" >"$1.json"; }
tree vol0 /dev/vda
tree vol1 /dev/vdb
ubd-compose create vol0.json >/dev/null 2>&1
ubd-compose create vol1.json >/dev/null 2>&1
other=${disk0%0}1
expect 'devices with daemons are none' 0 "$(ubd-compose list | grep -c orphan)"
for called in "$disk0" "/dev/$disk0" 0; do
	expect "and can't be removed as such: $called" \
		"ubd-compose: /dev/$disk0 is no orphan: its daemon is alive, or its name is left; \`ubd-compose list\` shows them" \
		"$(ubd-compose delete --orphan "$called" 2>&1)"
done

kill -9 "$(ubd-compose status --json vol0 | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
within 'the disk goes' 10 sh -c "! test -e /sys/block/$disk0"
expect 'a dead one with a name is none' 0 "$(ubd-compose list | grep -c orphan)"
refuses 'nor can it be removed as one' ubd-compose delete --orphan "$disk0" 2>err
rm /run/ubd-compose/vol0.*
expect 'without its name it is listed' 1 "$(ubd-compose list | grep -c "^- */dev/$disk0 *- *$DRIVER *orphan\$")"
expect 'in JSON too' 1 "$(ubd-compose list --json | grep -c '"state": "orphan"')"
refuses 'a number that is none' ubd-compose delete --orphan 7 2>err
expect 'is told' 'ubd-compose: there is no orphan "7"; `ubd-compose list` shows them' "$(cat err)"
refuses 'a word that is none' ubd-compose delete --orphan vol0 2>err
expect 'delete says nothing' '' "$(ubd-compose delete --orphan "$disk0" 2>&1)"
[ ! -e "/dev/${disk0%b0}c0" ] || fail 'its node is still there'
expect 'the list is empty of it' 0 "$(ubd-compose list | grep -c orphan)"
expect 'the other one is not touched' 1 "$(ubd-compose list | grep -c "/dev/$other .* running\$")"
expect 'create takes the number again' "/dev/$disk0" "$(ubd-compose create vol0.json 2>/dev/null)"
ubd-compose delete vol0
ubd-compose delete vol1
expect 'nothing is left' "$control_node" "$(driver_nodes)"
no_hung_tasks 'nothing hangs'
unload_driver
