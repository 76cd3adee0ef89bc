# shellcheck shell=sh source-path=SCRIPTDIR source=lib.sh
# The manual page has every command and option that the program has, and is well-formed.
. "$(dirname "$0")/lib.sh"

page=$root/man/ubd-compose.8
# section VERB: its lines of the page, with plain hyphens
section() { sed -n "/^\.SS $1\( \|\$\)/,/^\.S[HS]/p" "$page" | sed 's/\\-/-/g'; }

missing=
for verb in $(ubd-compose --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
	[ -n "$(section "$verb")" ] || missing="$missing $verb"
	for option in $(ubd-compose help "$verb" | sed -n 's/^  \(-., \)\{0,1\}--\([a-z-]*\).*/\2/p' | grep -v '^help$'); do
		section "$verb" | grep -q -- "^\.B .*--$option" || missing="$missing $verb:--$option"
	done
done
expect 'nothing is missing from man/ubd-compose.8 (VERB, or VERB:--OPTION)' '' "$missing"
command -v groff >/dev/null || fail 'groff is missing'
expect 'groff has nothing to say' '' "$(groff -man -Tutf8 -ww -z "$page" 2>&1)"
