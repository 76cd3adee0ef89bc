# vm: -k all -t 200 -f tests/vm/driver/recover.sh
# A disk outlives its server: what waited comes to the next one, for as long as was said and no longer.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./recover.sh
modprobe ubd
disk=/dev/ubdb0

# readers NUMBER: so many processes read a block each; `ended FILE...` counts how they ended.
readers() {
	rm -f reader.*
	for _reader in $(seq "$1"); do
		{ dd if=$disk of=/dev/null bs=4k count=1 skip=$((_reader * 64)) iflag=direct 2>/dev/null && echo good || echo bad; } >reader.tmp$_reader &&
			mv reader.tmp$_reader reader.$_reader &
	done
}
ended() { cat reader.[0-9]* 2>/dev/null | grep -c "$1" || true; }
all_ended() { [ "$(cat reader.[0-9]* 2>/dev/null | wc -l)" = "$1" ]; }

for queues in 1 2; do
	serve -q $queues -h 1
	dd if=$disk of=/dev/null bs=4k count=40 iflag=direct 2>/dev/null &
	long=$!
	sleep 0.5
	readers 20
	within "reissue, $queues queues: the server has them in its hands" 10 held_by_server 20
	dies
	sleep 0.5
	expect "they wait" 0 "$(cat reader.[0-9]* 2>/dev/null | wc -l)"
	serve -r 0
	within "the next server answers them" 10 all_ended 20
	expect "all of them well" 20 "$(ended good)"
	wait "$long" || fail "a reader that had begun before ended with $?"
	deletes
done

serve -f -h 1 -d 8
readers 20
within "fail: the server has as many as it has tags" 10 held_by_server 8
sleep 0.5
dies
within "what it had ends" 10 all_ended 8
expect "with an error" 8 "$(ended bad)"
sleep 0.5
expect "what it had not been given waits" 0 "$(ended good)"
serve -r 0
within "and comes to the next server" 10 all_ended 20
expect "well" 12 "$(ended good)"

# Nobody comes.
deletes
serve -h 1 -M 2000
readers 4
within "timeout: the server has them" 10 held_by_server 4
started=$(cut -d. -f1 /proc/uptime)
dies
within "nobody comes: they end" 10 all_ended 4
took=$(($(cut -d. -f1 /proc/uptime) - started))
[ $took -ge 1 ] && [ $took -le $((3 + 2 * patience)) ] || fail "after $took s instead of 2"
expect "with an error, after $took s" 4 "$(ended bad)"
within "and the disk goes" 5 sh -c '! test -e /sys/block/ubdb0'
refuses "nobody can resume it any more" recovery_server -r 0
no_hung_tasks "nothing hangs"
rmmod ubd
ok "the module unloads"

# Servers that never say RESUME change nothing and prolong nothing.
modprobe ubd
serve -h 1 -M 6000
readers 3
within "the server has requests" 10 held_by_server 3
dies
for _next in 1 2 3; do
	recovery_server -r 0 -S &
	server=$!
	sleep 0.3
	dies
done
expect "servers that fetch and die are given nothing" 0 "$(cat reader.[0-9]* 2>/dev/null | wc -l)"
serve -r 0
within "who resumes is given all" 10 all_ended 3
expect "and answers it" 3 "$(ended good)"
dies
recovery_server -r 0 -S &
server=$!
sleep 0.3
readers 3
within "a server that never resumes doesn't stop the clock" $((8 + 4 * patience)) all_ended 3
expect "the requests fail" 3 "$(ended bad)"
dies

# Taken away while it waits, by others or with the module.
within "the device is free again" 5 sh -c 'rmmod ubd'
modprobe ubd
serve -h 1
readers 3
within "the server has requests" 10 held_by_server 3
dies
refuses "the module stays while a disk waits that is open" rmmod ubd
stop_device ubd 0 || fail "STOP of a disk that waits"
within "STOP ends what waits" 5 all_ended 3
expect "with an error" 3 "$(ended bad)"
[ ! -e /sys/block/ubdb0 ] || fail "the disk is still there"
rmmod ubd
modprobe ubd
serve
dies
rmmod ubd
ok "the module unloads while a disk waits that nobody uses"
no_hung_tasks "nothing hangs"
