#!/usr/bin/env bash
# Makes the Python environment of tests/requirements.txt and prints its interpreter. Nothing to do when it is there:
# the folder is named after the list's hash.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

requirements="$ROOT/tests/requirements.txt"
name="python-$(sha256sum <"$requirements" | cut -c1-16)"
folder="${LCKV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lckv}"

make_environment() {
  local scratch=$1
  python3 -m venv "$scratch"
  "$scratch/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
}

mkdir -p "$folder"
exec 9>"$folder/.python.lock"
flock 9
if [ ! -e "$folder/$name/complete" ]; then
  rm -rf "${folder:?}/$name"
  # Made in its place: an environment knows its own path.
  step "python: installing $(grep -c '==' "$requirements") packages" make_environment "$folder/$name" >&2
  touch "$folder/$name/complete"
fi
printf '%s\n' "$folder/$name/bin/python"
