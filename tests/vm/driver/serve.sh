# shellcheck shell=sh
# What the driver's tests share: a V2 server in the background.

# serve OPTION...: starts it; sets server (its pid), disk (its path) and name (ubdbN).
# shellcheck disable=SC2034 # name is for the tests
serve() {
	: >served
	v2_server "$@" >served &
	server=$!
	for _try in $(seq 200); do
		[ ! -s served ] || break
		kill -0 "$server" 2>/dev/null || fail "the server ended: v2_server $*"
		sleep 0.05
	done
	disk=$(cat served)
	name=${disk#/dev/}
	[ -b "$disk" ] || fail "no disk: v2_server $*"
}

# stop: ends it in an orderly way.
stop() {
	kill "$server"
	wait "$server" || fail "the server ended with $?"
	[ ! -e "$disk" ] || fail "$disk is still there"
}
