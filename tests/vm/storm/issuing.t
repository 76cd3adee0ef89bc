# vm: -k 6.12 -c 4 -m 1024 -t 240 -f tests/vm/storm/storm.sh
# Servers die while requests are on their way to them: many at once, and a trace of each makes its way long.
# shellcheck disable=SC1091 # sourced in the guest
. ./storm.sh
modprobe ubd
mount -t tracefs tracefs /sys/kernel/tracing
echo stacktrace >/sys/kernel/tracing/events/block/block_rq_issue/trigger
servers 8 -d 400 -b 2048
no_hung_tasks
rmmod ubd
