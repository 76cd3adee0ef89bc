# shellcheck shell=sh
# vm: -k all -t 400
# However a device's requests fan out: what is read is what was written, and a mirror outlives a leg that fails under load.
. ./guest.sh

# tree FAN_OUT TYPE LEG...
tree() {
	_fan_out=$1 _type=$2 _legs=''
	shift 2
	for _leg; do _legs="$_legs${_legs:+, }{ \"type\": \"block\", \"path\": \"$_leg\" }"; done
	echo "{ \"format\": 1, \"name\": \"vol0\", \"device\": { \"fan_out\": \"$_fan_out\" },
\"root\": { \"type\": \"$_type\", \"children\": [ $_legs ] } }" >tree.json
}

verify() {
	fio --name=v --filename="$device" --allow_file_create=0 --rw=randrw --bsrange=4k-128k --size=8M --iodepth=16 --ioengine=io_uring \
		--direct=1 --verify=crc32c --verify_fatal=1 "$@" >fio.out 2>&1
}

# Mirrors link nothing: who may have to take another leg wants to see each end.
expect_used() {
	case $1 in
	gathered) [ "$(counter passed)" = 0 ] && [ "$(counter linked)" = 0 ] && [ "$(counter gathered)" -gt 0 ] ;;
	linked) [ "$(counter passed)" = 0 ] && { [ "$2" = mirror ] || [ "$(counter linked)" -gt 0 ]; } ;;
	passthrough) [ "$(counter passed)" -gt 0 ] ;;
	esac || fail "$1: $2: it was not used: $(ubd-compose status --json vol0)"
}

load_driver
modprobe brd rd_nr=2 rd_size=24576 max_part=0
for fan_out in gathered linked passthrough; do
	tree $fan_out stripe /dev/ram0 /dev/ram1
	device=$(ubd-compose create --force tree.json 2>/dev/null)
	verify || fail "$fan_out: a stripe: $(cat fio.out)"
	expect_used $fan_out stripe
	ubd-compose delete vol0
	ok "$fan_out: a stripe"

	dmsetup create bad --table '0 49152 linear /dev/ram0 0'
	dd if=/dev/zero of=/dev/mapper/bad bs=1M count=8 oflag=direct 2>/dev/null
	dd if=/dev/zero of=/dev/ram1 bs=1M count=8 oflag=direct 2>/dev/null
	tree $fan_out mirror /dev/mapper/bad /dev/ram1
	device=$(ubd-compose create --force tree.json 2>/dev/null)
	verify || fail "$fan_out: a mirror: $(cat fio.out)"
	verify --loops=4 --do_verify=0 || fail "$fan_out: a load: $(cat fio.out)" &
	load=$!
	dmsetup suspend --nolockfs bad
	dmsetup reload bad --table '0 49152 error'
	dmsetup resume bad
	wait $load || fail "$fan_out: somebody saw the leg's failure: $(cat fio.out)"
	verify || fail "$fan_out: a mirror with one leg: $(cat fio.out)"
	ubd-compose status vol0 | grep -q FAILED || fail "$fan_out: no leg is shown as failed: $(ubd-compose status vol0)"
	expect_used $fan_out mirror
	ubd-compose delete vol0
	dmsetup remove bad
	ok "$fan_out: a mirror whose leg fails under load"
done
no_hung_tasks 'nothing hangs'
within 'the module unloads' 10 unload_driver
