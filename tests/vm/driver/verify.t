# vm: -k all -t 150 -f tests/vm/driver/serve.sh
# A server that knows V2 only keeps data, whatever its ring, its queues and its depth.
# shellcheck disable=SC1091,SC2154 # sourced in the guest, which sets them
. ./guest.sh
. ./serve.sh
modprobe ubd

# verify OPTION...: random writes of mixed sizes, read back and compared.
verify() {
	serve "$@"
	fio --name=verify --filename="$disk" --direct=1 --ioengine=io_uring --iodepth=48 --rw=randwrite \
		--bsrange=4k-96k --blockalign=4k --size=12m --verify=crc32c --verify_fatal=1 --minimal >fio.out ||
		fail "v2_server $*: $(cat fio.out)"
	stop
	ok "v2_server $*"
}

verify
verify -q 2 -C
verify -q 2 -D
verify -n -d 1
verify -q 2 -d 4096 -k 32 -s 16
verify -b 4096 -k 1024 -S 8192 -D
rmmod ubd
ok "the module unloads"
