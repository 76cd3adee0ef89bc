# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# Wrong usage is told with the word that was meant, on stderr, with status 2; help goes to stdout.
. "$(dirname "$0")/lib.sh"

answers 'an unknown verb' 2 '' 'ubd-compose: there is no command "craete"; did you mean "create"?
Try: ubd-compose --help' ubd-compose craete
answers 'an unknown option in the verb'\''s place' 2 '' 'ubd-compose: there is no option "--verison"; did you mean "--version"?
Try: ubd-compose --help' ubd-compose --verison
answers 'an unknown option' 2 '' 'ubd-compose create: there is no option --degrade; did you mean --degraded?
Try: ubd-compose create --help' ubd-compose create --degrade tree.json
answers 'a missing operand' 2 '' 'ubd-compose delete: something is missing: the operands are DEVICE
Try: ubd-compose delete --help' ubd-compose delete
answers 'an operand too many' 2 '' 'ubd-compose list: "vol0" is one too many: there are no operands
Try: ubd-compose list --help' ubd-compose list vol0
answers 'an unknown debug word' 2 '' 'ubd-compose: --debug: there is no "requests"; did you mean "request"?' \
	ubd-compose create --debug=requests tree.json

expect 'no verb: status' 2 "$(ubd-compose >/dev/null 2>&1 || echo $?)"
for verb in "" create delete list status check explain replay examine wipe assemble events fail add remove replace scrub flatten commit snapshot trim; do
	# shellcheck disable=SC2086 # no verb is no word
	ubd-compose $verb --help >help 2>error || fail "$verb --help ended with $?"
	grep -q '^usage: ubd-compose' help || fail "$verb --help says no usage"
	[ ! -s error ] || fail "$verb --help writes to stderr"
	[ -z "$verb" ] || grep -q -- '-h, --help' help || fail "$verb --help does not name itself"
	! grep -nE '.{101}' help || fail "$verb --help is wider than 100 columns"
done
ok 'every verb has --help'
expect 'help about a verb' "$(ubd-compose create --help)" "$(ubd-compose help create)"
answers 'help about none' 2 '' 'ubd-compose: there is no command "lists"; did you mean "list"?
Try: ubd-compose --help' ubd-compose help lists
expect 'the version' 1 "$(ubd-compose --version | grep -cE '^ubd-compose [0-9.]+$')"
expect 'a full disk is noticed' 1 "$(ubd-compose --help 2>&1 >/dev/full | grep -c 'standard output: No space left on device')"
