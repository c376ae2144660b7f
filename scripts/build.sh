#!/usr/bin/env bash
# build.sh [PRESET] [TARGET…]: configures and builds build/PRESET (default: release, everything).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

preset="${1:-release}"
[ "$#" -eq 0 ] || shift
targets=()
[ "$#" -eq 0 ] || targets=(--target "$@")

build() {
  cd "$ROOT"
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
  cmake --build --preset "$preset" "${targets[@]}" -- --quiet
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
step "build $preset" build
