#!/usr/bin/env bash
# Generates Go code from every .proto file and docs/api.md from their comments;
# lints the public API and compares it with the one that was released last
# (proto/released.binpb): what that has must stay.
set -euo pipefail
cd "$(dirname "$0")/.."
buf=(go tool "-modfile=$PWD/scripts/tools/buf.mod" buf)
"${buf[@]}" generate proto --template proto/buf.gen.yaml
for dir in internal/meta/metapb internal/cluster/clusterpb; do
	(cd "$dir" && "${buf[@]}" generate)
done
"${buf[@]}" lint proto
"${buf[@]}" breaking proto --against proto/released.binpb
"${buf[@]}" build proto -o - | go run ./scripts/apidoc >docs/api.md
