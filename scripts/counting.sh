#!/usr/bin/env bash
# What counting costs: the QoS 0 benchmark against the broker as it is and against
# one whose counters are compiled out (build tag nocount), in alternation. Prints
# CPU seconds for 100,000 messages: minimum, median and how many rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-10}
scenario=${2:-'pair 10→10 QoS 0 v3'}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/on/broker" ./cmd/broker
go build -tags nocount -o "$work/off/broker" ./cmd/broker
go build -o "$work/bench" ./scripts/bench
for _ in $(seq "$rounds"); do
	for which in on off; do
		"$work/bench" -bin "$work/$which" -scenario "$scenario" -brokers broker -rounds 1 -quick |
			awk '/QoS/ { for (i = 1; i < NF; i++) if ($i == "broker") print $(i + 1) }' >>"$work/$which.txt"
	done
done
for which in on off; do
	sort -n "$work/$which.txt" | awk -v which="$which" '{ v[NR] = $1 } END { print "counters " which ": min " v[1] ", median " v[int((NR + 1) / 2)] ", rounds " NR }'
done
