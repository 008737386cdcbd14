#!/bin/sh
# Installs what building and running PgLens needs and this machine lacks, saying what and why. With --test, also what
# the tests need; with --bench, what the benchmark needs. What is there already is left alone; a machine that has
# everything is not touched at all.
set -eu

with_tests=no
with_bench=no
case "${1-}" in
'') ;;
--test) with_tests=yes ;;
--bench) with_bench=yes ;;
*)
    echo "usage: $0 [--test | --bench]" >&2
    exit 2
    ;;
esac

say() { echo "bootstrap: $*"; }
fail() {
    echo "bootstrap: $*" >&2
    exit 2
}
has() { command -v "$1" >/dev/null 2>&1; }
any_exists() {
    for path in "$@"; do
        [ -e "$path" ] && return 0
    done
    return 1
}

# --- What is missing -------------------------------------------------------------------------------------------------

has_postgres_server() {
    { has initdb && has postgres; } ||
        any_exists /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
            /opt/homebrew/opt/postgresql@*/bin/postgres /usr/local/opt/postgresql@*/bin/postgres \
            /opt/homebrew/bin/postgres /usr/local/pgsql/bin/postgres
}
has_pgbench() {
    has pgbench || any_exists /usr/lib/postgresql/*/bin/pgbench /usr/pgsql-*/bin/pgbench \
        /opt/homebrew/opt/postgresql@*/bin/pgbench /usr/local/opt/postgresql@*/bin/pgbench
}
# The library alone is not enough: its own headers, stddef.h among them, are in another package.
has_libclang() {
    [ -n "${LIBCLANG_PATH-}" ] || [ "$(uname -s)" = Darwin ] ||
        any_exists /usr/lib/clang/*/include/stddef.h /usr/lib64/clang/*/include/stddef.h \
            /usr/lib/llvm-*/lib/clang/*/include/stddef.h || return 1
    [ -n "${LIBCLANG_PATH-}" ] || any_exists /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*-linux-gnu/libclang*.so* \
        /usr/lib64/libclang*.so* /usr/lib64/llvm*/lib*/libclang*.so* /usr/lib/libclang*.so* \
        /opt/homebrew/opt/llvm*/lib/libclang.dylib /usr/local/opt/llvm*/lib/libclang.dylib \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib/libclang.dylib
}
has_libc_headers() {
    [ "$(uname -s)" = Darwin ] || any_exists /usr/include/stdio.h /usr/include/*-linux-gnu/stdio.h
}
has_venv() { has python3 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

missing=''
need() { # name of the need, why
    missing="$missing $1"
    say "missing: $1 ($2)"
}

{ has cc && has_libc_headers; } || need compiler "a C compiler: the SQL parser is PostgreSQL's own, in C"
has make || need make "the SQL parser is built with it"
has_libclang || need libclang "reads the SQL parser's C headers during the build"
has_postgres_server || need postgres-server "the storage and the sample database run on it"
has psql || need postgres-client "psql, to log in with"
if [ "$with_tests" = yes ]; then
    has_pgbench || need pgbench "a client that the end-to-end tests use"
    has_venv || need venv "python3 with venv: a driver the end-to-end tests use comes from PyPI"
fi
if [ "$with_bench" = yes ]; then
    has_pgbench || need pgbench "makes the load"
    { has pgbouncer || [ -x /usr/sbin/pgbouncer ]; } || need pgbouncer "what PgLens is compared with"
    has python3 || need venv "the benchmark is a Python script"
fi

# --- Installing it ---------------------------------------------------------------------------------------------------

manager=''
for candidate in apt-get dnf brew; do
    if has "$candidate"; then
        manager=$candidate
        break
    fi
done

packages_apt() {
    case "$1" in
    compiler) echo "gcc libc6-dev" ;;
    make) echo make ;;
    libclang) echo libclang-dev ;;
    postgres-server) echo "postgresql postgresql-client" ;;
    postgres-client) echo postgresql-client ;;
    pgbench) echo postgresql ;;
    pgbouncer) echo pgbouncer ;;
    venv) echo "python3 python3-venv" ;;
    esac
}
packages_dnf() {
    case "$1" in
    compiler) echo "gcc glibc-devel" ;;
    make) echo make ;;
    libclang) echo clang-devel ;;
    postgres-server) echo "postgresql-server postgresql" ;;
    postgres-client) echo postgresql ;;
    pgbench) echo postgresql-contrib ;;
    pgbouncer) echo pgbouncer ;;
    venv) echo python3 ;;
    esac
}
packages_brew() {
    case "$1" in
    compiler | make) echo gcc make ;;
    libclang) echo llvm ;;
    postgres-server | postgres-client | pgbench) echo postgresql@17 ;;
    pgbouncer) echo pgbouncer ;;
    venv) echo python3 ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Debian's package makes a cluster and starts it on port 5432. We need the programs only.
no_debian_cluster() {
    [ ! -e /etc/postgresql-common/createcluster.conf ] || return 0
    say "telling Debian's PostgreSQL packages not to start a server of their own"
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
}

if [ -n "$missing" ]; then
    [ -n "$manager" ] || fail "no apt-get, dnf or brew here; please install by hand:$missing"
    packages=''
    for name in $missing; do
        case "$manager" in
        apt-get) packages="$packages $(packages_apt "$name")" ;;
        dnf) packages="$packages $(packages_dnf "$name")" ;;
        brew) packages="$packages $(packages_brew "$name")" ;;
        esac
    done
    if [ "$manager" != brew ] && [ "$(id -u)" != 0 ] && ! { has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; then
        fail "not root, and no sudo to become root with; please have this run:  $manager install -y$packages"
    fi
    say "installing with $manager:$packages"
    # shellcheck disable=SC2086 # a list of words
    case "$manager" in
    apt-get)
        no_debian_cluster
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -o Dpkg::Options::=--force-confold $packages
        ;;
    dnf) as_root dnf install -y -q $packages ;;
    brew) brew install --quiet $packages ;;
    esac
fi

# --- Rust ------------------------------------------------------------------------------------------------------------

if ! has cargo; then
    # A shell that was open while rustup ran does not know its folder yet.
    if [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        fail "cargo is installed but not on PATH; open a new shell, or run:  . \"${CARGO_HOME:-$HOME/.cargo}/env\""
    fi
    fail "Rust is missing; get it from https://rustup.rs (or your system's rustup package), then run this again"
fi
if [ "$with_tests" = yes ] && ! cargo nextest --version >/dev/null 2>&1; then
    say "missing: cargo-nextest (runs the tests); building it takes some minutes"
    cargo install cargo-nextest --locked --quiet
fi

# The tests' other target: one major is the machine's own. What cannot be had is skipped by the tests that would use it,
# and they say so again.
if [ "$with_tests" = yes ]; then
    for what in 'folder 18' clients; do
        # shellcheck disable=SC2086 # two words
        "$(dirname "$0")"/postgres-majors.sh $what >/dev/null || say "not to be had here: postgres-majors.sh $what"
    done
fi
