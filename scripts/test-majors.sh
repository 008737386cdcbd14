#!/bin/sh
# Runs the tests that have a PostgreSQL server as target against the majors named, or against all supported ones, one
# after the other, and says which were covered and which were not. With --quick, the tests whose subject is how a target
# answers; without, also those that merely have one.
#
# A major that cannot be had here is skipped with its reason; where CI_STRICT=1, that is a failure.
set -eu
cd "$(dirname "$0")/.."

# The quick ones leave out what attacks do where nothing guards: it takes a minute, and is about the corpus.
# Tests that talk to a target. A new one that asks for PGLENS_TEST_PG_MAJOR through pglens_testkit belongs here.
all='binary(it) & package(/^pglens-(data-plane|e2e|policy|wire)$/) | package(pglens-testkit)'
quick='binary(it) & package(pglens-data-plane) | package(pglens-e2e) & test(/^(differential|psql|driver|read_guard|pg_dump|values)::/) & not test(/^read_guard::effects::/)'

filter=$all
if [ "${1-}" = --quick ]; then
    filter=$quick
    shift
fi
[ $# -gt 0 ] || set -- $(scripts/postgres-majors.sh list)

PGLENS_E2E_PROGRAM="$(scripts/target-dir.sh)/debug/pglens"
export PGLENS_E2E_PROGRAM
covered='' skipped='' failed=''
for major in "$@"; do
    if folder=$(scripts/postgres-majors.sh folder "$major"); then
        echo "==> target: $("$folder/postgres" --version)"
        if PGLENS_TEST_PG_MAJOR=$major "${CARGO:-cargo}" nextest run --workspace --locked -E "$filter"; then
            covered="$covered $major"
        else
            failed="$failed $major"
        fi
    elif [ $? = 3 ]; then
        echo "==> skipped: PostgreSQL $major as target; the reason is in the line above" >&2
        skipped="$skipped $major"
    else
        exit 1
    fi
done
echo "==> PostgreSQL as target: passed:${covered:- none}; failed:${failed:- none}; skipped:${skipped:- none}"
[ -z "$failed" ] && [ -n "$covered" ] || exit 1
[ -z "$skipped" ] || [ "${CI_STRICT:-0}" != 1 ]
