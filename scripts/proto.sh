#!/usr/bin/env bash
# Generates Go code from every .proto file and lints the public API.
set -euo pipefail
cd "$(dirname "$0")/.."
buf=(go tool "-modfile=$PWD/scripts/tools/buf.mod" buf)
"${buf[@]}" generate proto --template proto/buf.gen.yaml
for dir in internal/meta/metapb internal/cluster/clusterpb; do
	(cd "$dir" && "${buf[@]}" generate)
done
"${buf[@]}" lint proto
