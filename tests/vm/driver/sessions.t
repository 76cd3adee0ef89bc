# vm: -k all -t 90
# However a server ends, its disk goes soon and the device takes the next server.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
modprobe ubd
sessions || fail "see above"
no_hung_tasks "no thread hangs"
rmmod ubd
ok "the module unloads"
