# shellcheck shell=sh
# What the tests of the command line share: they need no root, no driver and no network. A test begins with
#	. "$(dirname "$0")/lib.sh"
# It then runs under `set -eu` in an empty directory of its own, with ubd-compose in PATH and a run directory of its own.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
PATH=${UBD_COMPOSE_BUILD:-$root/build}:$PATH
directory=$(mktemp -d "${TMPDIR:-/tmp}/ubd-cli.XXXXXX")
trap 'rm -rf "$directory"' EXIT
cd "$directory"
UBD_COMPOSE_RUN=$directory/run
export PATH UBD_COMPOSE_RUN

ok() { echo "ok - $*"; }
fail() {
	echo "FAILED: $*"
	exit 1
}

# expect WHAT WANTED GOT
expect() {
	if [ "$2" = "$3" ]; then ok "$1"; else
		fail "$1
wanted: $2
got:    $3"
	fi
}

# answers WHAT STATUS STDOUT STDERR COMMAND...: the command ends so and says this.
answers() {
	_what=$1 _status=$2 _out=$3 _err=$4 _got=0
	shift 4
	"$@" >"$directory/.out" 2>"$directory/.err" </dev/null || _got=$?
	expect "$_what: messages" "$_err" "$(cat "$directory/.err")"
	expect "$_what: output" "$_out" "$(cat "$directory/.out")"
	expect "$_what: status" "$_status" "$_got"
}

# leaves_nothing WHAT FILES: besides the named files the directory is empty.
leaves_nothing() { expect "$1 leaves nothing behind" "$2" "$(find . -type f ! -name '.*' | sed 's,^\./,,' | LC_ALL=C sort | xargs)"; }

# A tree of two small files under a target with the given keys: tree TYPE [KEYS] >FILE
tree() {
	cat <<END
{ "format": 1, "name": "vol0",
  "root": { "id": "top", "type": "$1", ${2-}
    "children": [
      { "id": "d0", "type": "file", "path": "d0.img", "size": "8MiB", "direct": false },
      { "id": "d1", "type": "file", "path": "d1.img", "size": "8MiB", "direct": false } ] } }
END
}
