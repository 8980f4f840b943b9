#!/usr/bin/env bash
# Runs every native fuzz target for the time given, two at a time with one
# worker each. Each package is built once, with coverage of this module only:
# "go test -fuzz" would compile every library anew. What the fuzzer finds worth
# keeping is in Go's build cache, a failure in testdata/fuzz of its package.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: scripts/fuzz.sh DURATION [TARGET]}
only=${2:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
module=$(go list -m)

# One target: run BINARY PACKAGE NAME TIME LOG CACHE.
run() {
	if (cd "$2" && "$1" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "$4" -test.fuzzminimizetime 10x \
		-test.parallel 1 -test.fuzzcachedir "$6/$2") >"$5" 2>&1; then
		echo "ok   $2 $3: $(grep -o 'execs: [0-9]*' "$5" | tail -1)"
	else
		echo "FAIL $2 $3"
		cat "$5"
		return 1
	fi
}
export -f run

grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u | while read -r dir; do
	targets=$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$dir"/*_test.go | grep -e "$only" || true)
	[ -n "$targets" ] || continue
	bin=$work/${dir//\//_}
	go test -c -vet=off -gcflags="$module/...=-d=libfuzzer" -o "$bin" "./$dir"
	for target in $targets; do
		printf '%s\0' "$bin" "$dir" "$target" "$time" "$bin.$target.log" "$cache"
	done
done >"$work/jobs"
xargs -0 -n6 -P2 bash -c 'run "$@"' _ <"$work/jobs"
