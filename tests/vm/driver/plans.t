# vm: -k all -d 64M -d 64M -t 120
# Plans without bytes and in waves: refused, carried out in order, given back; and which flush is believed.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
modprobe ubd
modprobe dm-delay
modprobe dm-flakey
modprobe brd rd_nr=2 rd_size=65536 max_part=0
mkfs.ext4 -qF /dev/ram1
mkdir /mnt/legs
mount /dev/ram1 /mnt/legs
dd if=/dev/zero of=/mnt/legs/file bs=1M count=4 oflag=direct 2>/dev/null
sectors=$(cat /sys/block/vda/size)
dmsetup create late --table "0 $sectors delay /dev/vda 0 200"
dmsetup create sick --table "0 $sectors flakey /dev/vdb 0 0 1000 1 error_writes"
mkfifo healed
exec 9<>healed
plans /dev/vda /dev/mapper/late /mnt/legs/file /dev/ram0 /dev/mapper/sick <healed >plans.out 2>&1 &
plans=$!
within 'the leg has failed a flush' 60 grep -q '^heal$' plans.out
dmsetup suspend --nolockfs --noflush sick
dmsetup reload sick --table "0 $sectors linear /dev/vdb 0"
dmsetup resume sick
echo healed >&9
wait $plans || fail "$(grep -v '^ok' plans.out)"
sed '/^heal$/d' plans.out
no_hung_tasks "no thread hangs"
dmsetup remove late
dmsetup remove sick
umount /mnt/legs
within 'the module unloads' 10 rmmod ubd
