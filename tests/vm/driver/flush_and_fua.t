# vm: -k all -f tests/vm/driver/serve.sh
# FLUSH and FUA reach the server.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./serve.sh
modprobe ubd
serve -l log
expect "the write cache is said to be there" "write back" "$(cat /sys/block/"$name"/queue/write_cache)"
expect "FUA is said to work" 1 "$(cat /sys/block/"$name"/queue/fua)"
xfs_io -d -c 'pwrite -q 0 4096' -c fsync "$disk"
within "FLUSH reaches the server" 5 grep -q '^flush' log
xfs_io -d -c 'pwrite -q -V 1 -D 8192 4096' "$disk"
within "FUA reaches the server" 5 grep -q '^write+fua 16 8$' log
blkdiscard -o 65536 -l 131072 "$disk"
within "DISCARD reaches the server" 5 grep -q '^discard 128 256$' log
blkdiscard -z -o 262144 -l 131072 "$disk"
within "WRITE_ZEROES reaches the server" 5 grep -q '^write_zeroes 512 256$' log
stop
