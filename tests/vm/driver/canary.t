# vm: -k any -t 200 -m 640 -a init_on_alloc=0
# Whatever fails, no byte of another request, another process or the kernel reaches a reader.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
grep -q init_on_alloc=0 /proc/cmdline || fail "the kernel clears what it gives away"
modprobe ubd
modprobe brd rd_nr=2 rd_size=16384 max_part=0
mkfs.ext4 -q /dev/ram0
mkdir mnt
mount /dev/ram0 mnt
for kind in v2 batches 'plans /dev/ram1 mnt/file'; do
	# shellcheck disable=SC2086 # a list of words
	canary $kind >out 2>&1 || fail "$kind: $(cat out)"
	ok "$kind: $(grep -c '^ok' out)"
done
no_hung_tasks
umount mnt
within 'the module unloads' 5 rmmod ubd
