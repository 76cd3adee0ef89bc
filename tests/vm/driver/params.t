# vm: -k all -t 90
# The disk has the parameters that its server set, wrong ones are refused, and its timeout is kept.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
modprobe ubd
params || fail "see above"
no_hung_tasks "no thread hangs"
rmmod ubd
ok "the module unloads"
