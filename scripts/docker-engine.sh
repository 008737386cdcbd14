# shellcheck shell=bash
# Sourced by test-deploy.sh: a Docker engine, its own where none can be reached, and images without pulling any.
# Needs deploy-tools.sh.
# shellcheck disable=SC2034 # WHY_NO_ENGINE is for the caller

IMAGES=$ROOT/target/images
ENGINE_DIR=
ENGINE_START_SECONDS=30

# Reaches an engine or starts one. On failure WHY_NO_ENGINE says what is missing.
engine_up() {
  WHY_NO_ENGINE=
  if ! command -v docker >/dev/null || ! { docker version >/dev/null 2>&1 || command -v dockerd >/dev/null; }; then
    engine_install || { WHY_NO_ENGINE="no Docker engine is reachable or installed, and none could be installed"; return 1; }
  fi
  if docker version >/dev/null 2>&1; then return 0; fi
  if [[ $(id -u) != 0 ]]; then
    WHY_NO_ENGINE="no Docker engine is reachable, and only root can start one"
    return 1
  fi
  engine_start
}

engine_install() {
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then return 1; fi
  say "installing docker.io, iptables and mmdebstrap with apt-get"
  apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    docker.io iptables mmdebstrap >/dev/null
}

engine_start() {
  ENGINE_DIR=$(mktemp -d /tmp/pglens-docker.XXXXXX) # short: it holds a unix socket
  HAD_DOCKER0=$(ip -o link show docker0 2>/dev/null || true)
  FORWARDING=$(cat /proc/sys/net/ipv4/ip_forward)
  FORWARD_POLICY=$(iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p' || true)
  # The limits: the engine's own defaults exceed what an unprivileged machine may give.
  dockerd --host "unix://$ENGINE_DIR/d.sock" --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec" \
    --pidfile "$ENGINE_DIR/d.pid" --default-ulimit nofile=16384:16384 --default-ulimit nproc=16384:16384 \
    --oom-score-adjust 0 >"$ENGINE_DIR/log" 2>&1 &
  DOCKERD=$!
  export DOCKER_HOST=unix://$ENGINE_DIR/d.sock
  local deadline=$((SECONDS + ENGINE_START_SECONDS))
  until docker version >/dev/null 2>&1; do
    if ! kill -0 "$DOCKERD" 2>/dev/null || ((SECONDS > deadline)); then
      WHY_NO_ENGINE="dockerd does not come up here: $(grep -v 'level=info' "$ENGINE_DIR/log" | tail -n 1)"
      engine_down
      return 1
    fi
    sleep 0.2
  done
  say "started a Docker engine of its own"
}

# Ends what engine_start began and takes back what dockerd did to the network.
engine_down() {
  if [[ -z $ENGINE_DIR ]]; then return 0; fi
  kill "$DOCKERD" 2>/dev/null || true
  wait "$DOCKERD" 2>/dev/null || true
  unset DOCKER_HOST
  if [[ -z $HAD_DOCKER0 ]]; then
    network_clean
  fi
  printf '%s\n' "$FORWARDING" >/proc/sys/net/ipv4/ip_forward || true
  rm -rf "$ENGINE_DIR"
  ENGINE_DIR=
}

network_clean() {
  ip link del docker0 2>/dev/null || true
  local table chain rule
  for table in filter nat; do
    # Rules that lead to dockerd's chains or name its links and addresses, then the chains.
    iptables -t "$table" -S 2>/dev/null | grep -E -e '^-A .*(DOCKER|docker0)' -e '^-A POSTROUTING -s 172\.17\.0\.0/16' \
      | while read -r rule; do
        # shellcheck disable=SC2086 # a rule is a list of words
        iptables -t "$table" -D ${rule#-A } 2>/dev/null || true
      done || true
    for chain in $(iptables -t "$table" -S 2>/dev/null | sed -n 's/^-N \(DOCKER.*\)$/\1/p'); do
      iptables -t "$table" -F "$chain" 2>/dev/null || true
    done
    for chain in $(iptables -t "$table" -S 2>/dev/null | sed -n 's/^-N \(DOCKER.*\)$/\1/p'); do
      iptables -t "$table" -X "$chain" 2>/dev/null || true
    done
  done
  if [[ -n $FORWARD_POLICY ]]; then
    iptables -P FORWARD "$FORWARD_POLICY" 2>/dev/null || true
  fi
}

# docker build with BuildKit: through the client's plugin, or the engine's own with a client that knows how to ask.
image_build() {
  if docker buildx version >/dev/null 2>&1; then
    docker build --network=host -q "$@" >/dev/null
  else
    DOCKER_BUILDKIT=1 /usr/bin/docker build --network=host -q "$@" >/dev/null
  fi
}

# base_image TAG: this machine's own Debian release (the binaries were built against its C library).
base_image() {
  local tag=$1 suite tar
  suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  tar=$IMAGES/base-$suite.tar
  if [[ ! -s $tar ]]; then
    command -v mmdebstrap >/dev/null || engine_install || return 1
    say "making the base image from the Debian archive (about a minute, kept in ${tar#"$ROOT/"})"
    mkdir -p "$IMAGES"
    debian_sources "$suite" | mmdebstrap --quiet --variant=minbase --include=ca-certificates "$suite" "$IMAGES/new.tar" - >&2 \
      && mv "$IMAGES/new.tar" "$tar" || return 1
  fi
  docker import --change 'CMD ["/bin/bash"]' "$tar" "$tag" >/dev/null
}

# The archive lines this machine uses for its release and its updates.
debian_sources() {
  # shellcheck disable=SC2016 # the names are apt's
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' \
    | sort -u | while read -r uri suite component; do
      if [[ $suite == "$1"* && $component == main ]]; then printf 'deb %s %s %s\n' "$uri" "$suite" "$component"; fi
    done
}

# kept_image TAG FINGERPRINT BUILD…: loads an image saved by an earlier run of the same inputs, or builds and saves it.
kept_image() {
  local tag=$1 prefix=$IMAGES/${1//[:\/]/-} file
  file=$prefix-$2.tar
  shift 2
  if [[ -s $file ]]; then
    docker load -q -i "$file" >/dev/null
    return
  fi
  say "building $tag"
  image_build -t "$tag" "$@" || return 1
  rm -f "$prefix"-*.tar
  docker save -o "$file.new" "$tag" && mv "$file.new" "$file"
}
