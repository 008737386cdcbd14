#!/bin/sh
# Makes the Python environment of the end-to-end tests under target/ and prints the path of its interpreter.
# What it installs is pinned; a second call finds it there and needs no network.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
packages='psycopg[binary]==3.3.9 asyncpg==0.32.0 SQLAlchemy==2.1.9 Django==5.2.19'
# Another list is another folder.
folder=${1:-$root/target}/e2e-python-$(echo "$packages" | cksum | cut -d' ' -f1)

if [ ! -x "$folder/bin/python" ]; then
    mkdir -p "$(dirname "$folder")"
    # Made beside its place and moved there whole, so that an interrupted or a simultaneous call leaves nothing half done.
    making=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$making"' EXIT
    python3 -m venv "$making" >&2
    # shellcheck disable=SC2086 # a list of words
    "$making/bin/python" -m pip install --quiet --disable-pip-version-check $packages >&2
    python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$making" "$folder" 2>/dev/null || [ -x "$folder/bin/python" ]
fi
echo "$folder/bin/python"
