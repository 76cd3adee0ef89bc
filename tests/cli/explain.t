# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# `explain` shows plans within plans, and touches nothing.
. "$(dirname "$0")/lib.sh"

tree stripe '"chunk_size": "4KiB",' >tree.json
answers 'a write across chunks' 0 "stripe top write 2048 4096 from 0
  wave 0: file d0 write 2048 2048 from 0: $directory/d0.img at 4196352
  wave 0: file d1 write 0 2048 from 2048: $directory/d1.img at 4194304" '' ubd-compose explain tree.json write 2K 4KiB
tree mirror >tree.json
answers 'a flush' 0 "mirror top flush
  wave 0: file d0 flush: $directory/d0.img
  wave 0: file d1 flush: $directory/d1.img" '' ubd-compose explain tree.json flush
answers 'out of range' 1 '' \
	'ubd-compose: read 8388608 512: ends after the device, which has 7340032 bytes' \
	ubd-compose explain tree.json read 8M 512
answers 'not a size' 2 '' 'ubd-compose explain: OFFSET "1.5K" is not a size such as 4096 or 96K
Try: ubd-compose explain --help' ubd-compose explain tree.json read 1.5K 512
answers 'not a kind' 2 '' 'ubd-compose explain: there is no kind "wirte"; there are read, write, write-zeroes, discard and flush
Try: ubd-compose explain --help' ubd-compose explain tree.json wirte 0 512
answers 'a range that flush has not' 2 '' 'ubd-compose explain: flush takes no OFFSET and LENGTH
Try: ubd-compose explain --help' ubd-compose explain tree.json flush 0 512
leaves_nothing explain tree.json
