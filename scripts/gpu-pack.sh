#!/usr/bin/env bash
# gpu-pack.sh: gathers in build/gpu-pack the Debian packages' files that engine/ and its tests build against, for
# scripts/gpu-check.sh on a machine that has nvcc, CMake and a compiler but none of them. About 30 MB.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
pack="$ROOT/build/gpu-pack"
rm -rf "$pack"
mkdir -p "$pack"
packages=(libabsl-dev libabsl20220623 libfmt-dev libfmt9 libspdlog-dev libspdlog1.10 libpcre2-dev libpcre2-8-0 libssl-dev libssl3
  nlohmann-json3-dev libgtest-dev libgmock-dev)
# Headers, libraries and CMake files at the paths they have here; not the static libraries that a shared one stands for.
dpkg -L "${packages[@]}" | grep -E '^/(usr/)?(include|lib|share/cmake)/' | grep -vE '/lib(ssl|crypto|pcre2[a-z0-9-]*)\.a$|/engines-|/ossl-modules' |
  sort -u | while read -r path; do
  if [ ! -d "$path" ] || [ -L "$path" ]; then printf '%s\n' "$path"; fi
done | tar -C / -cf - --files-from - --absolute-names --transform 's,^/,,' | tar -C "$pack" -xf -
say "packed: $(du -sh "$pack" | cut -f1) in build/gpu-pack"
