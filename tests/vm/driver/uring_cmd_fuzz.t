# vm: -k all -t 300
# Tens of thousands of commands of a hostile world, on disks of several kinds as legs: no report, and nobody waits for ever.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
modprobe brd rd_nr=3 rd_size=65536 max_part=0
modprobe null_blk nr_devices=2 irqmode=2 completion_nsec=200000 gb=1
modprobe dm-flakey
modprobe dm-delay
dmsetup create flakey --table '0 131072 flakey /dev/ram0 0 1 1'
dmsetup create delay --table '0 131072 delay /dev/ram1 0 5'
truncate -s 64M backing && losetup /dev/loop0 backing
mkfs.ext4 -q /dev/ram2 && mkdir -p /mnt/leg && mount /dev/ram2 /mnt/leg
truncate -s 32M /mnt/leg/file

uring_cmd_fuzz -s "${UBD_SEED:-1}" -n "${UBD_COMMANDS:-30000}" -l "${UBD_LIFE:-4000}" || fail "see above"
no_hung_tasks "nothing hangs"
rmmod ubd
ok "the module unloads"
