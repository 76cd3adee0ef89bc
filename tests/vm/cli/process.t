# vm: -k any -d 64M
# drivers: ubd ublk
# What the daemon is: few rights, locked memory, not for the OOM killer, nothing of its caller's.
. ./guest.sh

load_driver
cat >tree.json <<'END'
{ "format": 1, "name": "vol0", "device": { "queue_depth": 16, "max_io_size": "128KiB" },
  "root": { "id": "d0", "type": "block", "path": "/dev/vda" } }
END
mkdir /mnt/cwd
mount -t tmpfs tmpfs /mnt/cwd
cp tree.json /mnt/cwd
touch /mnt/cwd/held
(cd /mnt/cwd && exec 7<held && ubd-compose create tree.json >/dev/null 2>&1)
pid=$(ubd-compose status --json vol0 | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status" | tr -s '[:space:]' ' ' | sed 's/ $//'; }

expect 'no capability but SYS_ADMIN and DAC_OVERRIDE' 0000000000200002 "$(field CapPrm)"
for thread in "/proc/$pid/task"/*; do
	expect "thread ${thread##*/} has no more" 1 "$(grep -c '^CapPrm:.0000000000200002$' "$thread/status")"
done
expect 'no new privileges' 1 "$(field NoNewPrivs)"
expect 'not for the OOM killer' -1000 "$(cat "/proc/$pid/oom_score_adj")"
locked=$(field VmLck) resident=$(field VmRSS)
[ "${locked% kB}" -ge "${resident% kB}" ] || fail "memory is not locked: $locked of $resident"
ok 'its memory is locked'
[ "${resident% kB}" -le $((2048 + 8192)) ] || fail "it needs $resident, with 2 MiB of buffers"
ok "its memory is small ($resident)"
[ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail 'it has our mount namespace'
ok 'it has a mount namespace of its own'
expect 'a session of its own' "$pid" "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f4)"
expect 'it stands in the root' / "$(readlink "/proc/$pid/cwd")"
expect 'its standard files are null' '/dev/null /dev/null /dev/null' \
	"$(for fd in 0 1 2; do readlink "/proc/$pid/fd/$fd"; done | xargs)"
expect 'it holds no file of its caller' 0 "$(for fd in "/proc/$pid/fd"/*; do readlink "$fd" || true; done | grep -c held || true)"
umount /mnt/cwd || fail 'the daemon keeps its caller'\''s directory busy'
ok 'the directory of its start can be unmounted'
expect 'the run directory is private' 'drwx------' "$(stat -c %A /run/ubd-compose)"
expect 'the socket is private' 'srw-------' "$(stat -c %A /run/ubd-compose/vol0.sock)"
ubd-compose delete vol0
no_hung_tasks 'nothing hangs'
