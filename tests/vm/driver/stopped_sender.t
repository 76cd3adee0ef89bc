# vm: -k all
# Who is stopped while a control command of his waits, and goes on, gets its answer and not EINTR.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
stopped_sender || fail 'see above'
rmmod ubd
ok 'the module unloads'
