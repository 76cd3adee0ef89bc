# vm: -k any -d 64M -m 1536 -t 180
# drivers: ubd ublk
# Many at once: of several creates of one name, or on the same leaves, one wins; many devices come and go side by side.
. ./guest.sh

load_driver
device() {
	cat <<END
{ "format": 1, "name": "$1", "device": { "queue_depth": 16, "max_io_size": "64KiB" },
  "root": { "id": "d0", "type": "file", "path": "/run/$2.img", "size": "8MiB", "direct": false } }
END
}

# winners COMMAND...: runs it five times at once, with 1 to 5 as its last argument; how many succeeded.
winners() {
	rm -f won.*
	for n in 1 2 3 4 5; do
		{ "$@" "$n" >"out.$n" 2>"err.$n" && touch "won.$n"; } &
	done
	wait
	find . -name 'won.*' | wc -l
}

for n in 1 2 3 4 5; do
	device same "leaf$n" >"name.$n"
	device "vol$n" same >"leaf.$n"
	device "vol$n" "vol$n" >"many.$n"
done
by() { ubd-compose create "$1.$2"; }
expect 'of five of one name, one wins' 1 "$(winners by name)"
expect 'the others say why' 4 "$(cat err.* | grep -c 'name "same" is in use')"
expect 'and leave nothing' 1 "$(find /run -name 'leaf*.img' | wc -l)"
ubd-compose delete same
expect 'of five on the same leaf, one wins' 1 "$(winners by leaf)"
expect 'one device is listed' 1 "$(ubd-compose list --json | grep -c '"state": "running"')"
ubd-compose delete "$(ubd-compose list | sed -n '2s/ .*//p')"

# shellcheck disable=SC2317,SC2034 # called by winners
come_and_go() {
	for round in 1 2 3; do
		disk=$(ubd-compose create "many.$1" 2>/dev/null) || return 1
		dd if=/dev/zero of="$disk" bs=64k count=16 oflag=direct 2>/dev/null || return 1
		ubd-compose status "$disk" >/dev/null || return 1
		ubd-compose list >/dev/null || return 1
		ubd-compose delete "vol$1" || return 1
	done
}
expect 'five come and go three times each' 5 "$(winners come_and_go)" || cat err.*
expect 'nothing is left' "$control_node" "$(driver_nodes)"
expect 'the run directory is empty' '' "$(ls -A /run/ubd-compose)"

sed 's/16,/4096,/; s/64KiB/4MiB/' many.1 >huge.json
expect 'what memory is not there for is refused' 1 \
	"$(ubd-compose create huge.json 2>&1 | grep -cE '^ubd-compose: the buffers need 16384 MiB of memory, [0-9]+ MiB are available')"
unload_driver
no_hung_tasks 'nothing hangs'
