#!/bin/sh
# Runs the fuzzers, each for as many seconds as the first argument says (60 without one), or those named behind it.
# They start from the seeds in the repository; what they find on the way is kept under target/fuzz, and an input that
# breaks something is left there as well, with the command that runs it again.
#
# cargo-fuzz is installed if it is missing. Its instrumentation is not in stable Rust: RUSTC_BOOTSTRAP unlocks it there.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# = 0 ] || shift

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz" >&2
    cargo install cargo-fuzz --locked --quiet
fi
export RUSTC_BOOTSTRAP=1
kept=$(scripts/target-dir.sh)/fuzz
for crate in shared/wire shared/policy; do
    for file in "$crate"/fuzz/fuzz_targets/*.rs; do
        target=$(basename "$file" .rs)
        case " ${*:-$target} " in
        *" $target "*) ;;
        *) continue ;;
        esac
        mkdir -p "$kept/corpus/$target" "$kept/artifacts/$target"
        echo "==> fuzz: $target, $seconds s"
        (cd "$crate" && cargo fuzz run --target-dir "$kept/build" "$target" "$kept/corpus/$target" "fuzz/seeds/$target" -- \
            -max_total_time="$seconds" -artifact_prefix="$kept/artifacts/$target/" -print_final_stats=1 -verbosity=0)
    done
done
