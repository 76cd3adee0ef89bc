# vm: -k 6.12 -c 4 -m 1024 -d 24M -d 24M -t 240 -f tests/vm/storm/storm.sh
# A short storm of each kind; `make storm N=2000` runs long ones.
# shellcheck disable=SC1091 # sourced in the guest
. ./storm.sh
modprobe ubd
kills 10
recoveries 10
recoveries 5 gathered
for ROOT in mirror thin; do
	kills 3
	recoveries 3
	recoveries 2 gathered
done
servers 10
churns 20
openers 2
loads 3
changes 1
! dmesg | grep -i 'call trace' || fail 'a report'
no_hung_tasks
rmmod ubd
