# shellcheck shell=sh
# vm: -k any -m 1536 -t 300
# The same random requests to ours and to the kernel's own dm and md: every result and every byte the same.
# REQUESTS for each pair comes from the file `requests`, if one is given (make differential).
. ./guest.sh

requests=2000
[ ! -e requests ] || requests=$(cat requests)
modprobe brd rd_nr=8 rd_size=24576 max_part=0
modprobe ubd
modprobe -a dm-mod raid1 raid10
seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')

leaf() { printf '{ "type": "block", "path": "/dev/ram%s" }' "$1"; }
mirror() { printf '{ "type": "mirror", "children": [ %s, %s ] }' "$(leaf "$1")" "$(leaf "$2")"; }
stripe() { printf '{ "type": "stripe", "chunk_size": "64KiB", "children": [ %s, %s ] }' "$1" "$2"; }

# pair WHAT THEIRS FAN_OUT ROOT: /dev/ram0 and up are ours.
pair() {
	printf '{ "format": 1, "name": "ours", "device": { "fan_out": "%s" }, "root": %s }' "$3" "$4" >ours.json
	within "$1, $3: its legs are free" 10 sh -c 'ubd-compose check --force ours.json >out 2>&1'
	device=$(ubd-compose create --force ours.json 2>err) || fail "create: $(cat err)"
	same_trace "$device" "$2" "$seed" "$requests" >out 2>&1 || fail "$1, $3, seed $seed: $(cat out)"
	ok "$1, $3: $(cat out) (seed $seed)"
	ubd-compose delete ours
}

# Theirs begin as zeroes, as ours do where nothing was written.
blank() { for n in 0 1 2 3 4 5 6 7; do dd if=/dev/zero of=/dev/ram$n bs=1M count=24 oflag=direct 2>/dev/null; done; }

for fan_out in gathered linked passthrough; do
	blank
	echo '0 49152 linear /dev/ram4 0' | dmsetup create theirs
	pair 'dm-linear' /dev/mapper/theirs $fan_out "$(leaf 0)"
	dmsetup remove theirs
	blank
	echo '0 98304 striped 2 128 /dev/ram4 0 /dev/ram5 0' | dmsetup create theirs
	pair 'dm-stripe' /dev/mapper/theirs $fan_out "$(stripe "$(leaf 0)" "$(leaf 1)")"
	dmsetup remove theirs
	blank
	mdadm --quiet --create /dev/md0 --run --assume-clean --metadata=1.2 --level=1 --raid-devices=2 /dev/ram4 /dev/ram5
	pair 'md raid1' /dev/md0 $fan_out "$(mirror 0 1)"
	mdadm --quiet --stop /dev/md0
	blank
	mdadm --quiet --create /dev/md0 --run --assume-clean --metadata=1.2 --level=10 --chunk=64 --raid-devices=4 \
		/dev/ram4 /dev/ram5 /dev/ram6 /dev/ram7
	pair 'md raid10' /dev/md0 $fan_out "$(stripe "$(mirror 0 1)" "$(mirror 2 3)")"
	mdadm --quiet --stop /dev/md0
done
