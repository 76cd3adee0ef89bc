# vm: -k all -t 60
# Wrong commands are refused, and disturb nothing.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
modprobe ubd
bad_commands || fail "see above"
no_hung_tasks "no thread hangs"
rmmod ubd
ok "the module unloads"
