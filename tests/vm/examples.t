# shellcheck shell=sh source-path=SCRIPTDIR source=guest.sh
# vm: -k any -d 2500M -m 1280 -t 240 -f examples
# drivers: ubd ublk
# Every example becomes a device, twice: made, and found again by its labels. Its daemon's memory stays in bounds.
. ./guest.sh

SLACK_KIB=12288 # beside what status says: the program and its libraries, and small things; all of it is there, and locked
THIN_SLACK_KIB=36864 # and an image's tables, with its metadata_cache

load_driver
make_legs

name_of() { sed -n 's/^ *"name": *"\([^"]*\)".*/\1/p' "$1" | head -n 1; }

# What a type that keeps nothing does with data.
expect_zeroes() {
	dd if=/dev/urandom of="$device" bs=64k count=4 oflag=direct 2>/dev/null
	dd if="$device" of=back bs=64k count=4 iflag=direct 2>/dev/null
	[ "$(tr -d '\0' <back | wc -c)" = 0 ] || fail "$example: reads something else than zeroes"
}

expect_errors() {
	! dd if="$device" of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null || fail "$example: a read succeeds"
	! dd if=/dev/zero of="$device" bs=64k count=1 oflag=direct 2>/dev/null || fail "$example: a write succeeds"
}

expect_data() {
	fio --name=v --filename="$device" --rw=randrw --bsrange=4k-128k --size=6M --iodepth=16 --ioengine=io_uring --direct=1 \
		--verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "$example: $(cat fio.out)"
	dd if=/dev/urandom of=data bs=64k count=32 2>/dev/null
	dd if=data of="$device" bs=64k oflag=direct 2>/dev/null
}

# The daemon's memory beside what it says that requests have.
expect_memory() {
	ubd-compose status "$name" --json >status.json
	pid=$(sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' status.json | head -n 1)
	number() { sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" status.json | head -n 1; }
	said=$(($(number memory) / 1024))
	resident=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status")
	slack=$SLACK_KIB
	case $example in thin*) slack=$((SLACK_KIB + THIN_SLACK_KIB)) ;; esac
	[ "$resident" -le $((said + slack)) ] ||
		fail "$example: the daemon has $resident KiB, and says $said KiB"
}

for document in examples/*.json; do
	example=$(basename "$document" .json)
	name=$(name_of "$document")
	mkdir "/legs/$example"
	cp "$document" "/legs/$example/tree.json"
	if grep -q '"label": false' "$document" && [ "$example" = raw-file ]; then
		sed -n 's/.*"path": *"\([^"]*\)".*/\1/p' "$document" | while read -r path; do
			[ -e "/legs/$example/$path" ] || truncate -s 16M "/legs/$example/$path"
		done
	fi
	device=$(ubd-compose create "/legs/$example/tree.json" 2>err) || fail "$example: $(cat err)"
	expect_memory
	case $example in
	zero) expect_zeroes ;;
	error) expect_errors ;;
	*) expect_data ;;
	esac
	ubd-compose delete "$name" || fail "$example: delete"
	case $example in zero | error) ok "$example"; continue ;; esac
	device=$(ubd-compose create "/legs/$example/tree.json" 2>err) || fail "$example, again: $(cat err)"
	[ ! -s err ] || fail "$example: the second create has something to say: $(cat err)"
	dd if="$device" of=back bs=64k count=32 iflag=direct 2>/dev/null
	cmp data back || fail "$example: what was written is not there after a second create"
	ubd-compose delete "$name"
	ok "$example"
	rm -r "/legs/${example:?}"
done
unload_driver
no_hung_tasks 'at the end'
