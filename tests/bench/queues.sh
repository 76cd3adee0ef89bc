#!/bin/sh
# What a second queue is worth to a thin volume and a mirror: 4k I/O at random on what is allocated, from two processors, each at
# depth 32, over memory disks; by one queue and by two in turn, ROUNDS (3) times. In a guest:
#   tests/vm/run -k 6.12 -c 2 -m 1536 -t 900 -f tests/bench/queues.sh sh queues.sh
# Prints thousands of I/Os a second, medians; an emulated processor: the ratios say something, the figures are no disk's.
set -eu
rounds=${ROUNDS:-3}
modprobe ubd
modprobe brd rd_nr=2 rd_size=262144

# serve ROOT QUEUES: the same device each time, by so many queues.
serve() {
	case $1 in
	thin) root='{"type":"thin","size":"128MiB","data":{"type":"block","path":"/dev/ram0"}}' ;;
	mirror) root='{"type":"mirror","children":[{"type":"block","path":"/dev/ram0"},{"type":"block","path":"/dev/ram1"}]}' ;;
	esac
	echo "{\"format\":1,\"name\":\"v0\",\"device\":{\"queues\":$2},\"root\":$root}" >tree.json
	ubd-compose create ${3-} tree.json 2>create.err || { cat create.err; exit 1; }
}

# iops KIND: thousands a second, of reads or writes.
iops() {
	fio --name=load --filename="$device" --size=64M --offset_increment=64M --rw="$1" --bs=4k --iodepth=32 --numjobs=2 --ioengine=io_uring \
		--direct=1 --time_based --runtime=4 --ramp_time=1 --group_reporting --cpus_allowed=0-1 --cpus_allowed_policy=split \
		--output-format=terse >fio.out 2>&1 || { cat fio.out; exit 1; }
	tail -n 1 fio.out | awk -F ';' '{ printf "%.1f\n", ($8 + $49) / 1000 }'
}

median() { sort -n "$1" | awk '{ at[NR] = $1 } END { print at[int((NR + 1) / 2)] }'; }

for root in thin mirror; do
	dd if=/dev/zero of=/dev/ram0 bs=1M count=16 2>/dev/null
	dd if=/dev/zero of=/dev/ram1 bs=1M count=16 2>/dev/null
	device=$(serve $root 1 --force)
	dd if=/dev/urandom of="$device" bs=1M count=128 oflag=direct 2>/dev/null
	ubd-compose delete v0
	rm -f ./*.rates
	round=0
	while [ $((round += 1)) -le "$rounds" ]; do
		for queues in 1 2; do
			device=$(serve $root $queues)
			for kind in randread randwrite; do
				iops $kind >>$kind.$queues.rates
			done
			ubd-compose delete v0
		done
	done
	for kind in randread randwrite; do
		echo "$root $kind: one queue $(median $kind.1.rates), two $(median $kind.2.rates) thousand a second"
	done
done
