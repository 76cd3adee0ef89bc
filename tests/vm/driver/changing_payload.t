# vm: -k all
# A command is what the driver has read once, whatever its sender writes there meanwhile.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
changing_payload || fail 'see above'
rmmod ubd
ok 'the module unloads'
