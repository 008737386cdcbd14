#!/bin/sh
# Prints the folder that cargo builds into.
set -eu
cd "$(dirname "$0")/.."
echo "${CARGO_TARGET_DIR:-$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')}"
