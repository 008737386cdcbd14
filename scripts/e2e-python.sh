#!/bin/sh
# Makes the Python environment of the end-to-end tests under target/ and prints the path of its interpreter.
# What it installs is pinned; a second call finds it there and needs no network.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
version=3.3.9
folder=${1:-$root/target}/e2e-python-$version

if [ ! -x "$folder/bin/python" ]; then
    mkdir -p "$(dirname "$folder")"
    # Made beside its place and moved there whole, so that an interrupted or a simultaneous call leaves nothing half done.
    making=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$making"' EXIT
    python3 -m venv "$making" >&2
    "$making/bin/python" -m pip install --quiet --disable-pip-version-check "psycopg[binary]==$version" >&2
    python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$making" "$folder" 2>/dev/null || [ -x "$folder/bin/python" ]
fi
echo "$folder/bin/python"
