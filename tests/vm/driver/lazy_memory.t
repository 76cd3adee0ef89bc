# vm: -k all -t 100
# A server whose buffers are not there, and never will be, cannot keep STOP and DEL waiting, nor its own end.
# shellcheck disable=SC1091 # sourced in the guest
. ./guest.sh
modprobe ubd
for kind in write read; do
	status=0
	lazy_memory $kind >out 2>&1 || status=$?
	if [ $status = 77 ] && [ $patience -gt 1 ]; then
		echo '# this debug kernel has no userfaultfd: nothing was tested'
		exit 0
	fi
	[ $status = 0 ] || fail "$kind: $(cat out)"
	ok "$kind"
done
no_hung_tasks
within 'the module unloads' 5 rmmod ubd
