# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# Devices that are not there, and daemons that are dead, are told as such.
. "$(dirname "$0")/lib.sh"

answers 'no device at all' 0 '' '' ubd-compose list
answers 'no device at all, for programs' 0 '[]' '' ubd-compose list --json
answers 'status of none' 1 '' 'ubd-compose: there is no device "vol0"; no device is running' ubd-compose status vol0
answers 'delete by a path of none' 1 '' 'ubd-compose: there is no device "/dev/ubdb0"; no device is running' \
	ubd-compose delete /dev/ubdb0

# A socket that nobody listens on is what a killed daemon leaves.
mkdir -m 700 run
dead() { perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un($ARGV[0])) or die' "run/$1.sock"; }
dead vol0
answers 'a dead device in the list' 0 \
	'NAME                 PATH                   SIZE  DRIVER STATE
vol0                 -                         -  -      dead' '' ubd-compose list
answers 'its status' 1 '' 'ubd-compose: vol0: its daemon is dead' ubd-compose status vol0
answers 'a name that is nearly it' 1 '' 'ubd-compose: there is no device "vo0"; did you mean "vol0"?' ubd-compose status vo0
answers 'its deletion' 0 '' 'ubd-compose: vol0: its daemon had died; removed what it left' ubd-compose delete vol0
answers 'nothing is left' 0 '' '' ubd-compose list
answers 'events of none' 0 '' '' ubd-compose events
answers 'events of one that is not there' 1 '' 'ubd-compose: there is no device "vol0"; no device is running' ubd-compose events vol0
dead vol0
answers 'events of a dead one' 1 '' 'ubd-compose: vol0: its daemon is dead' ubd-compose events vol0
answers 'which can'\''t be followed' 1 '' 'ubd-compose: vol0: its daemon is dead' ubd-compose events --follow vol0
