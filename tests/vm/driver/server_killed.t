# vm: -k all -t 150
# A server that is killed, at any time and with any kind of ring, leaves nothing behind: it exits, what was asked of it
# ends with an error, the disk goes, the device takes the next server, the module unloads.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
modprobe ubd

killed() {
	what=$1
	shift
	kill_server -l $((4000 * patience)) "$@" >out 2>&1 || fail "$what: $(cat out)"
	cat ./out >>./times
	ok "$what ($(tr '\n' ' ' <out))"
}

for ring in '' '-q 2 -C' '-q 2 -D' '-n' '-n -D'; do
	# shellcheck disable=SC2086 # lists of words
	{
		killed "with all tags waiting, v2_server $ring" v2_server $ring
		killed "with requests under way, v2_server $ring" -j 8 v2_server $ring
		killed "with requests in its hands, v2_server $ring" -t 300 -j 40 v2_server $ring -h 40
		killed "with no tag left, v2_server $ring" -t 300 -j 12 v2_server $ring -d 8 -h 30
	}
done
for ms in 0 2 5 8 11 15 20 25 30 35 40 45 50 55 60 65 70 80; do
	killed "$ms ms after its start" -t $ms -s v2_server -q 2 -d 64
done
no_hung_tasks "no thread hangs"
rmmod ubd
ok "the module unloads"
sort -k 1,1 -k 2,2n times | awk '{ print "# " $0 }' | awk '{ n[$2]++; v[$2, n[$2]] = $3 }
	END { for (w in n) print "# " w ": median " v[w, int((n[w] + 1) / 2)] " ms, most " v[w, n[w]] " ms, of " n[w] }'
