# vm: -k all -t 300
# Sessions that end in awkward moments leave a device that works, or goes.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
for case in shared_memory late_notification next_session interrupted_open stop_during_start delete_during_start delete_twice; do
	session_cases $case >out || fail "$case: $(cat out)"
	ok "$case"
done
chained >out || fail "chained: $(cat out)"
ok "chained"
rmmod ubd
ok "the module unloads"
