# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `create` where it can't: the driver is asked for before a leaf is touched, and nothing is left.
. "$(dirname "$0")/lib.sh"

[ ! -e /dev/ubd-control ] || { ok 'skipped: this machine has the driver; tests/vm has these cases'; exit 0; }
tree stripe >tree.json
for foreground in '' -f; do
	# shellcheck disable=SC2086 # an empty word is no word
	answers "create $foreground without the driver" 1 '' \
		"ubd-compose: /dev/ubd-control is not there: the driver isn't loaded; try: modprobe ubd" \
		ubd-compose create $foreground tree.json
done
answers 'a document from standard input is read' 1 '' \
	'ubd-compose: the document is empty (<stdin>:1:1)' ubd-compose create -
leaves_nothing create tree.json
