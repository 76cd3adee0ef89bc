# shellcheck shell=sh
# What the tests of recovery share: servers that follow one another on device 0.

# serve OPTION...: starts one and waits until the disk has its server; sets server, its pid.
serve() {
	: >served
	recovery_server "$@" >served 2>server.err &
	server=$!
	for _try in $(seq $((400 * patience))); do
		[ ! -s served ] || return 0
		kill -0 "$server" 2>/dev/null || fail "the server ended: recovery_server $*: $(cat server.err)"
		sleep 0.05
	done
	fail "the server says nothing: recovery_server $*"
}

# dies: as if by accident. Its shell's word about that is no news.
dies() {
	kill -9 "$server" 2>/dev/null || fail "the server had ended: $(cat served server.err)"
	wait "$server" 2>/dev/null || true
}

# hands_over: in peace.
hands_over() {
	kill "$server"
	wait "$server" || fail "the hand-over ended with $?: $(cat served server.err)"
}

# deletes: the device goes, by its server's own doing.
deletes() {
	kill -USR1 "$server"
	wait "$server" || fail "the server ended with $?: $(cat server.err)"
	[ ! -e /dev/ubdb0 ] || fail "/dev/ubdb0 is still there"
}

# held_by_server NUMBER: so many requests are under way.
held_by_server() { [ "$(awk '{ print $1 + $2 }' /sys/block/ubdb0/inflight)" -ge "$1" ]; }
