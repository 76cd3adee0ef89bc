# vm: -k all -t 180
# The end of a request may close its file for good, and that may wait for the disk: the server doesn't.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
last_close || fail 'see above'
no_hung_tasks
rmmod ubd
ok 'the module unloads'
