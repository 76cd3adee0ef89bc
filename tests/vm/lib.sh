# shellcheck shell=bash
# What the scripts of tests/vm share: where things are, and how a script gives up.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ubd-compose
vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$vm_dir/../.." && pwd)
build=$root/build

say() { echo "vm/run: $*" >&2; }

# A trouble of our own, told apart from the command's statuses.
RUN_FAILED=122
die() {
	say "$@"
	exit "$RUN_FAILED"
}

# System programs are not in every user's PATH.
tool_path() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

need_tools() {
	local tool
	for tool; do
		tool_path "$tool" >/dev/null || die "$tool is missing; install what is needed with tests/deps"
	done
}
