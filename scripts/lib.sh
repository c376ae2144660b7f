# Sourced by the scripts beside it: where the tree is, and lines that say what happens and how long it took.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export ROOT

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# step "what" command…: runs the command and says how long it took; ends the script when it fails.
step() {
  local what=$1 begin=$SECONDS
  shift
  say "$what"
  "$@" || die "$what: failed after $((SECONDS - begin)) s"
  say "$what: done in $((SECONDS - begin)) s"
}
