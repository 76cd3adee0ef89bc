# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `create` where it can't: the driver is asked for before a leaf is touched, and nothing is left.
. "$(dirname "$0")/lib.sh"

[ ! -e /dev/ubd-control ] && [ ! -e /dev/ublk-control ] || { ok 'skipped: this machine has the driver; tests/vm has these cases'; exit 0; }
tree stripe >tree.json
for foreground in '' -f; do
	# shellcheck disable=SC2086 # an empty word is no word
	answers "create $foreground without the driver" 1 '' \
		"ubd-compose: neither driver is loaded; try: modprobe ubd, or modprobe ublk_drv, which most kernels from 6.0 on have" \
		ubd-compose create $foreground tree.json
done
for driver in ubd ublk; do
	tree stripe | sed "s/\"root\"/\"device\": { \"driver\": \"$driver\" }, \"root\"/" >tree.json
	module=$driver
	[ $driver = ubd ] || module=ublk_drv
	answers "driver $driver is insisted on" 1 '' \
		"ubd-compose: /dev/$driver-control is not there: the driver isn't loaded; try: modprobe $module" \
		ubd-compose create tree.json
done
answers 'a document from standard input is read' 1 '' \
	'ubd-compose: the document is empty (<stdin>:1:1)' ubd-compose create -
leaves_nothing create tree.json
