#!/usr/bin/env bash
# Brings compose/compose.yaml up for real and uses it as a person would: curl to the API, psql through the proxy.
#
#   PGLENS_BIN_DIR   folder of the built binaries (default: target/debug)
#   CI_STRICT=1      where it cannot run, fail instead of saying so
set -euo pipefail

# shellcheck source=scripts/deploy-tools.sh
. "$(dirname "$0")/deploy-tools.sh"
# shellcheck source=scripts/docker-engine.sh
. "$ROOT/scripts/docker-engine.sh"

BINARIES=${PGLENS_BIN_DIR:-${CARGO_TARGET_DIR:-$ROOT/target}/debug}
TAG=deploy-test
WORK=$(mktemp -d)
BUILT=no
STARTED=no

# A project name of its own: a person's running "pglens" is not touched.
compose() { docker compose -p pglens-deploy-test -f "$ROOT/compose/compose.yaml" "$@"; }

cleanup() {
  local status=$?
  trap - EXIT
  if [[ $STARTED == yes ]]; then
    if ((status != 0)); then
      compose ps --all >&2 || true
      compose logs --no-color --tail 40 >&2 || true
    fi
    compose down --volumes --remove-orphans -t 5 >/dev/null 2>&1 || true
  fi
  if [[ $BUILT == yes ]]; then
    docker image ls -q --filter "reference=pglens*:$TAG" | sort -u | xargs -r docker image rm -f >/dev/null 2>&1 || true
  fi
  engine_down
  rm -rf "$WORK"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

check_files() {
  compose config -q
  local linter file
  if linter=$(hadolint); then
    for file in Dockerfile Dockerfile.services; do "$linter" "$ROOT/compose/$file"; done
  else
    printf 'skipped: hadolint cannot be installed\n' >&2
    if [[ ${CI_STRICT:-0} == 1 ]]; then exit 1; fi
  fi
}

build_images() {
  local program services
  export PGLENS_IMAGE=pglens:$TAG PGLENS_CONTROL_PLANE_IMAGE=pglens-control-plane:$TAG \
    PGLENS_DATA_PLANE_IMAGE=pglens-data-plane:$TAG PGLENS_POSTGRES_IMAGE=pglens-test-postgres:$TAG \
    PGLENS_HAPROXY_IMAGE=pglens-test-haproxy:$TAG
  local base=pglens-test-base:$TAG
  base_image "$base" || fail "the base image could not be made"

  mkdir "$WORK/binaries"
  for program in pglens pglens-control-plane pglens-data-plane; do
    cp "$BINARIES/$program" "$WORK/binaries/"
    strip "$WORK/binaries/$program" 2>/dev/null || true # symbols are most of it
  done
  for program in pglens:$PGLENS_IMAGE control-plane:$PGLENS_CONTROL_PLANE_IMAGE data-plane:$PGLENS_DATA_PLANE_IMAGE; do
    image_build -f "$ROOT/compose/Dockerfile" --build-arg BINARIES=prebuilt --build-arg BASE_IMAGE="$base" \
      --target "${program%%:*}" -t "${program#*:}" "$WORK/binaries" || fail "image ${program#*:} could not be built"
  done
  docker run --rm "$PGLENS_CONTROL_PLANE_IMAGE" --version >/dev/null || fail "the binaries do not run in the image"

  services=$(cat "$ROOT/compose/Dockerfile.services" "$ROOT/compose/postgres-entrypoint.sh" /etc/os-release | sha256sum | cut -c 1-12)
  for program in postgres haproxy; do
    kept_image "pglens-test-$program:$TAG" "$services" -f "$ROOT/compose/Dockerfile.services" \
      --build-arg BASE_IMAGE="$base" --target "$program" "$ROOT/compose" || fail "image $program could not be built"
  done
}

# The documented port where it is free, any other where it is not.
port() {
  python3 - "$1" <<'PYTHON'
import socket, sys
for wanted in (int(sys.argv[1]), 0):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            continue
        print(probe.getsockname()[1])
        break
PYTHON
}

find_psql() {
  local candidate
  for candidate in "$(command -v psql || true)" /usr/lib/postgresql/*/bin/psql; do
    if [[ -x $candidate ]]; then printf '%s\n' "$candidate"; return; fi
  done
  return 1
}

for tool in curl python3; do
  command -v "$tool" >/dev/null || skip "$tool is not installed"
done
command -v docker >/dev/null || engine_install || skip "nothing was checked: docker is not installed"
docker_compose || skip "docker compose cannot be installed"
check_files
say "compose.yaml and Dockerfiles are well-formed"
engine_up || skip "the deployment was not started: $WHY_NO_ENGINE"
# shellcheck disable=SC2034 # deploy-checks.sh uses it
PSQL=$(find_psql) || skip "the deployment was not started: psql is not installed"
for program in pglens pglens-control-plane pglens-data-plane; do
  [[ -x $BINARIES/$program ]] || fail "$BINARIES/$program is missing: cargo build -p pglens -p pglens-control-plane -p pglens-data-plane"
done

BUILT=yes
build_images
PGLENS_STORAGE_PORT=$(port 5000)
PGLENS_PROXY_PORT=$(port 5001)
PGLENS_API_PORT=$(port 8080)
PGL_ADMIN_PASSWORD=$(python3 -c 'import secrets; print(secrets.token_hex(12))')
export PGLENS_STORAGE_PORT PGLENS_PROXY_PORT PGLENS_API_PORT PGL_ADMIN_PASSWORD
STARTED=yes
compose up --detach --no-build --quiet-pull --wait --wait-timeout 180 >"$WORK/up" 2>&1 \
  || { cat "$WORK/up" >&2; fail "the deployment did not become healthy"; }
say "all services are healthy: storage $PGLENS_STORAGE_PORT, proxy $PGLENS_PROXY_PORT, API $PGLENS_API_PORT"

# shellcheck source=scripts/deploy-checks.sh
. "$ROOT/scripts/deploy-checks.sh"
run_checks
say "all checks passed"
