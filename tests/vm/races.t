# shellcheck shell=sh
# vm: -k all -m 1280 -t 300
# Plans whose sub-I/Os end inline, in softirq and in hardirq, fail while others are under way, or lose their leg or their daemon.
. ./guest.sh

# tree TYPE LEG...
tree() {
	_type=$1 _legs='' _place=0
	shift
	for _leg; do
		_legs="$_legs${_legs:+,}{ \"id\": \"d$_place\", \"type\": \"block\", \"path\": \"$_leg\" }"
		_place=$((_place + 1))
	done
	echo "{ \"format\": 1, \"name\": \"vol0\", \"device\": { \"fan_out\": \"passthrough\" },
\"root\": { \"id\": \"r\", \"type\": \"$_type\", \"children\": [ $_legs ] } }" >tree.json
}

daemon() { ubd-compose status vol0 --json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' | head -n 1; }

has_errors() { ubd-compose status vol0 --json | grep -q '"errors": *[1-9]'; }

verify() {
	fio --name=v --filename="$device" --rw=randrw --bsrange=4k-64k --size=24M --io_size=12M --iodepth=16 --fsync=64 \
		--ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 >fio.out 2>&1 || fail "$1: $(cat fio.out)"
	ok "$1"
}

has_passed() { [ "$(counter passed)" -ge "$1" ]; }

# load SECONDS: in the background, and under way when this returns. One that finds the disk gone must not make a file of its name.
load() {
	_passed=$(counter passed)
	fio --name=l --filename="$device" --allow_file_create=0 --rw=randrw --bs=16k --size=24M --iodepth=32 --ioengine=io_uring \
		--direct=1 --time_based --runtime="$1" --continue_on_error=all >/dev/null 2>&1 &
	load=$!
	within 'the load runs' 30 has_passed $((_passed + 64))
}

# null NUMBER IRQMODE: a memory disk that ends its requests inline (0), in softirq (1) or by a timer in hardirq (2).
null() {
	_null=/sys/kernel/config/nullb/nullb$1
	mkdir "$_null"
	echo 1 >"$_null/memory_backed"
	echo 32 >"$_null/size"
	echo "$2" >"$_null/irqmode"
	echo 50000 >"$_null/completion_nsec"
	echo 1 >"$_null/power"
	[ -e "/dev/nullb$1" ] || within "/dev/nullb$1" 5 test -e "/dev/nullb$1"
}

# Nobody remembers what was on these legs: one that has failed would be left out.
forget() { for _leg; do dd if=/dev/zero of="$_leg" bs=1M count=4 oflag=direct 2>/dev/null; done; }

modprobe ubd
modprobe null_blk nr_devices=0
modprobe dm-delay
mount -t configfs none /sys/kernel/config 2>/dev/null || true
for mode in 0 1 2; do
	null $((2 * mode)) $mode
	null $((2 * mode + 1)) $mode
done

for legs in '0 1' '2 3' '4 5' '0 5'; do
	# shellcheck disable=SC2086 # two words
	set -- $legs
	for type in stripe mirror; do
		tree $type "/dev/nullb$1" "/dev/nullb$2"
		device=$(ubd-compose create --force tree.json 2>/dev/null)
		verify "a $type over nullb$1 and nullb$2"
		[ "$(counter passed)" -gt 100 ] || fail "only $(counter passed) requests were passed"
		has_errors && fail "a $type over nullb$1 and nullb$2: a leg has failed"
		# A mirror's first write to a region comes back for its bytes, as it waits for the bitmap.
		[ $type = mirror ] || expect 'none failed' 0 "$(counter restarted)"
		ubd-compose delete vol0
	done
done

# One leg fails at once while the other one's sub-I/O is under way for long; then the first one to answer is the good one.
sectors=$(cat /sys/block/nullb0/size)
for order in 'quick late' 'late quick'; do
	forget /dev/nullb0 /dev/nullb4
	dmsetup create quick --table "0 $sectors linear /dev/nullb0 0"
	dmsetup create late --table "0 $sectors delay /dev/nullb4 0 20"
	# shellcheck disable=SC2086 # two words
	set -- $order
	tree mirror "/dev/mapper/$1" "/dev/mapper/$2"
	device=$(ubd-compose create --force tree.json 2>/dev/null)
	dd if=/dev/urandom of=random bs=64k count=32 2>/dev/null
	load 4
	dmsetup suspend --nolockfs "$1"
	dmsetup reload "$1" --table "0 $sectors error"
	dmsetup resume "$1"
	wait $load
	dd if=random of="$device" bs=64k oflag=direct 2>/dev/null || fail "a write saw the failure of $1"
	dd if="$device" of=back bs=64k count=32 iflag=direct 2>/dev/null
	cmp random back || fail "$1 failed: what was written is not what is read"
	[ "$(counter restarted)" -gt 0 ] || fail 'no request came back from the driver'
	ok "$1 fails while $2 has sub-I/Os under way"
	ubd-compose delete vol0
	dmsetup remove quick
	dmsetup remove late
done

# A leg is taken away under I/O.
forget /dev/nullb2 /dev/nullb4
tree mirror /dev/nullb2 /dev/nullb4
device=$(ubd-compose create --force tree.json 2>/dev/null)
load 4
echo 0 >/sys/kernel/config/nullb/nullb2/power
wait $load
verify 'the mirror whose leg was taken away'
ubd-compose delete vol0

# The daemon is stopped, and killed, while plans are under way, some of them not even begun by their leg's worker.
dmsetup create late --table "0 $sectors delay /dev/nullb4 0 300"
for end in stop kill; do
	forget /dev/nullb3 /dev/nullb4
	tree stripe /dev/mapper/late /dev/nullb3
	device=$(ubd-compose create --force tree.json 2>/dev/null)
	load 300
	case $end in
	stop) kill -TERM "$(daemon)" ;;
	kill) kill -9 "$(daemon)" ;;
	esac
	kill $load 2>/dev/null || true
	wait $load || true
	within "$end: the disk goes" 20 test ! -e "$device"
	ubd-compose delete vol0 2>/dev/null || true
	ok "$end with plans under way"
done
within 'the driver lets go of the legs' 10 dmsetup remove late
no_hung_tasks
within 'the module unloads' 10 rmmod ubd
