# visitors.sh HOST SECONDS EVERY URL AGENT ADDRESS...: users of one browser, who ask for a page each EVERY seconds, each with
# an address of its own. Sourced by make.sh after lab.sh.
visitors() {
	local h=$1 until=$((SECONDS + $2)) every=$3 url=$4 agent=$5; shift 5
	while [ $SECONDS -lt $until ]; do
		for a; do
			[ $SECONDS -lt $until ] || break
			on "$h" curl -s -m 4 -o /dev/null --interface "$a" -A "$agent" "$url" || true
			sleep "$every"
		done
	done
}
