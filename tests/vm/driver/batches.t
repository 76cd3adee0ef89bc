# vm: -k all -t 90
# One command for many tags: what it refuses, what it brings in which order, and how it ends.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
modprobe ubd
modprobe brd rd_nr=1 rd_size=65536 max_part=0
batches || fail "see above"
no_hung_tasks "no thread hangs"
within 'the module unloads' 10 rmmod ubd
