# vm: -k all -t 100 -f tests/vm/driver/serve.sh
# STOP of a server that no longer answers gives up on it in bounded time: what it owes ends with an error.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./serve.sh
modprobe ubd
serve -h 60 -l log
dd if="$disk" of=/dev/null iflag=direct bs=4k count=1000 2>/dev/null &
reader=$!
held() { [ "$(wc -l <log)" -ge 60 ]; }
within "a request is in the server's hands" 20 held
started=$(cut -d. -f1 /proc/uptime)
kill "$server" # it sends STOP, and answers nothing
wait "$server" || fail "the server ended with $?"
took=$(($(cut -d. -f1 /proc/uptime) - started))
[ $took -lt $((10 + 4 * patience)) ] || fail "STOP took $took s"
ok "STOP comes back ($took s)"
refuses "the reader gets an error" wait $reader
no_hung_tasks "no thread hangs"

serve
dd if=/dev/urandom of="$disk" bs=1M count=8 conv=notrunc 2>/dev/null # dirty pages
exec 3<"$disk"
stop
ok "STOP takes a disk away that is open and dirty"
refuses "the module stays while the disk is open" rmmod ubd
exec 3<&-
within "and unloads afterwards" 5 rmmod ubd
