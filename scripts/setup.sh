#!/usr/bin/env bash
# setup.sh [--deploy]: installs what building and testing lckv needs, all from Debian 12's own packages. Quick when they are
# there. --deploy: also what the tests of image, compose file and dashboards need.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGES=(
  # tools
  build-essential ca-certificates ccache clang clang-format cmake git mold ninja-build pkg-config
  python3 python3-pip python3-venv
  # base and engine
  libabsl-dev libfmt-dev libpcre2-dev libspdlog-dev libssl-dev nlohmann-json3-dev
  # services. CMake's gRPC and prometheus-cpp files look for the libraries named after them.
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libc-ares-dev libre2-dev zlib1g-dev
  prometheus-cpp-dev libcivetweb-dev libcurl4-openssl-dev
  librocksdb-dev libcli11-dev libyaml-cpp-dev
  # tests
  libboost-context-dev libgmock-dev libgtest-dev
)

DEPLOY_PACKAGES=(
  aardvark-dns buildah catatonit chromium docker-compose iptables mmdebstrap netavark podman runc uidmap
)

missing_packages() {
  local installed
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' | sort -u)
  comm -23 <(printf '%s\n' "${PACKAGES[@]}" | sort -u) <(printf '%s\n' "$installed")
}

install() {
  local -a as_root=() apt
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  "${apt[@]}" update -q || say "apt-get update reported errors; going on with the lists at hand"
  "${apt[@]}" install -q -y --no-install-recommends "$@"
}

command -v dpkg-query >/dev/null || die "this script needs Debian 12 (dpkg)"
case "${1-}" in
  "") ;;
  --deploy) PACKAGES+=("${DEPLOY_PACKAGES[@]}") ;;
  *) die "usage: setup.sh [--deploy]" ;;
esac
mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -eq 0 ]; then
  say "packages: all ${#PACKAGES[@]} are installed"
  exit 0
fi
step "packages: installing ${missing[*]}" install "${missing[@]}"
