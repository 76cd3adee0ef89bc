# shellcheck shell=sh
# vm: -k all -t 120
# drivers: ubd ublk
# A sub-I/O that takes its time, while thousands of others pass it by, ends its own request, and with its own bytes. The kernel may read
# the command that is linked behind it only then (6.10 to 6.13), from where it was put into the ring.
. ./guest.sh

load_driver
modprobe brd rd_nr=2 rd_size=16384 max_part=0
dmsetup create slow --table '0 32768 linear /dev/ram0 0'
cat >tree.json <<'EOT'
{ "format": 1, "name": "vol0", "device": { "fan_out": "linked", "queues": 1, "queue_depth": 16 },
  "root": { "type": "linear", "children": [ { "type": "block", "path": "/dev/mapper/slow" }, { "type": "block", "path": "/dev/ram1" } ] } }
EOT
sed -i "s/\"device\": {/& \"driver\": \"$DRIVER\",/" tree.json
device=$(ubd-compose create --force tree.json 2>log) || fail "create: $(cat log)"
yes slow | head -c 20480 >written
dd if=written of="$device" bs=20480 count=1 oflag=direct 2>dd.out || fail "dd: $(cat dd.out)"
dmsetup suspend slow
dmsetup reload slow --table '0 32768 delay /dev/ram0 0 4000'
dmsetup resume slow
before=$(counter linked)
for block in 1 2 3 4; do
	timeout 60 dd if="$device" bs=4096 count=1 skip=$block iflag=direct of=slow.$block 2>dd.$block &
done
sleep 0.5
fio --name=fast --filename="$device" --allow_file_create=0 --offset=12M --size=8M --rw=randread --bs=4k --ioengine=io_uring --iodepth=8 \
	--direct=1 --time_based --runtime=2 >fio.out 2>&1 || fail "fio: $(cat fio.out)"
linked=$(($(counter linked) - before))
[ $linked -gt 1000 ] || fail "only $linked requests were linked"
ok 'thousands pass by'
for block in 1 2 3 4; do
	arrived() { [ -s slow.$block ]; }
	within "read $block ends" 30 arrived
	dd if=written bs=4096 count=1 skip=$block of=wanted 2>/dev/null
	cmp wanted slow.$block || fail "read $block has other bytes than were written"
	ok "read $block has its own bytes"
done
no_hung_tasks
