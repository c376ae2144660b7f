#!/usr/bin/env bash
# test.sh [PRESET…]: installs packages, fetches the models, builds and runs every test; ends with ctest's summary.
# Default presets: release (everything), tsan (what does not link gRPC), asan (everything, with UBSan). The preset clang
# builds with clang's thread-safety analysis.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

presets=("$@")
[ "$#" -gt 0 ] || presets=(release tsan asan)

"$ROOT/scripts/setup.sh" --deploy
LCKV_SMOLLM2=$("$ROOT/scripts/get-models.sh")
export LCKV_SMOLLM2
"$ROOT/scripts/python-env.sh" >/dev/null
"$ROOT/scripts/get-tools.sh" helm3 helm4 prometheus alertmanager >/dev/null

# One ctest run over all build trees: they are the subdirectories of this one.
all="$ROOT/build/all"
mkdir -p "$all"
: >"$all/CTestTestfile.cmake"
for preset in "${presets[@]}"; do
  "$ROOT/scripts/build.sh" "$preset"
  printf 'subdirs("%s")\n' "$ROOT/build/$preset" >>"$all/CTestTestfile.cmake"
done

say "tests of ${presets[*]}"
cd "$all"
exec ctest --output-on-failure --no-tests=error --parallel "$(nproc)"
