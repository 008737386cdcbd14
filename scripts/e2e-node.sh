#!/bin/sh
# Installs the packages that the end-to-end tests use in Node.js under target/ and prints their folder, for NODE_PATH.
# Exit code 3: there is no npm here.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
package=pg@8.23.1
folder=${1:-$root/target}/e2e-node-$package

if [ ! -d "$folder/node_modules/pg" ]; then
    command -v npm >/dev/null || exit 3
    mkdir -p "$(dirname "$folder")"
    making=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$making"' EXIT
    npm install --silent --no-fund --no-audit --no-package-lock --prefix "$making" "$package" >&2
    python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$making" "$folder" 2>/dev/null || [ -d "$folder/node_modules/pg" ]
fi
echo "$folder/node_modules"
