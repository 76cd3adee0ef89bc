# Runs a test, then unloads the driver and asks the kernel what memory nobody refers to any more.
# shellcheck shell=sh
set -u
report=/sys/kernel/debug/kmemleak
echo clear >$report
status=0
sh "$1" || status=$?

# What the test has left running would keep the module, and what it holds.
for stat in /proc/[0-9]*; do
	[ ! -e "$stat/exe" ] || [ "${stat#/proc/}" = $$ ] || [ "${stat#/proc/}" = 1 ] || kill -9 "${stat#/proc/}" 2>/dev/null
done
for _ in $(seq 100); do
	[ -e /sys/module/ubd ] || break
	rmmod ubd 2>/dev/null || sleep 0.1
done
if [ -e /sys/module/ubd ]; then
	echo "# ubd is in use after the test, and stays"
fi

# Objects younger than 5 s are not reported, and freed ones may be referred to by the grace period's lists for a while.
sleep 6
echo scan >$report
if grep -q . $report; then
	sleep 6
	echo scan >$report
fi
if grep -q . $report; then
	echo "FAILED: memory has leaked"
	cat $report
	[ "$status" != 0 ] || status=1
fi
exit "$status"
