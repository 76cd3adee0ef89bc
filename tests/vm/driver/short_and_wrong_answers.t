# vm: -k all -f tests/vm/driver/serve.sh
# Whatever a server answers, a reader gets what it stored or an error, and never something else.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./serve.sh
modprobe ubd

head -c 65536 /dev/urandom >pattern

# reads_of WHAT OPTION...: what a read of 64 KiB gives.
reads_of() { dd if="$disk" iflag=direct bs=64k count=1 of=got 2>/dev/null; }

for short in 512 1000 4096 61440; do
	serve -S $short
	dd if=pattern of="$disk" oflag=direct bs=64k count=1 2>/dev/null || fail "short write of $short"
	reads_of || fail "short read of $short"
	cmp pattern got || fail "short answers of $short bytes corrupt"
	ok "short answers of $short bytes are asked on until all is there"
	stop
done
serve -S 511
refuses "answers of less than a block fail a read" reads_of
stop
for answer in -5 -11 -4096 -2147483648 2147483647 65537; do
	serve -a $answer -q 1
	: >got
	refuses "the answer $answer fails a read" reads_of
	expect "and gives no byte" 0 "$(stat -c %s got)"
	stop
done
no_hung_tasks "no thread hangs"
rmmod ubd
ok "the module unloads"
