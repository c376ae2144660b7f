#!/usr/bin/env bash
# gpu-check.sh: builds engine/ with CUDA for the GPU at hand and checks it there: the conformance table, all golden
# maps, and the smallest cases under compute-sanitizer. Needs nvcc, CMake, Ninja and a C++20 compiler; the libraries come
# from build/gpu-pack (scripts/gpu-pack.sh) or from the system. Writes a table to standard output and build/gpu/check.json.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build="$ROOT/build/gpu"
pack="$ROOT/build/gpu-pack"
architectures="${LCKV_GPU_ARCHITECTURES:-native}"
mkdir -p "$build"

device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || true
[ -n "$device" ] || say "no GPU here: builds only (set LCKV_GPU_ARCHITECTURES)"

options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DLCKV_SERVICES=OFF -DLCKV_CUDA=ON "-DLCKV_CUDA_ARCHITECTURES=$architectures")
if [ -d "$pack" ]; then
  options+=("-DCMAKE_PREFIX_PATH=$pack/usr" "-DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu")
  export LD_LIBRARY_PATH="$pack/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export CPATH="$pack/usr/include/x86_64-linux-gnu"  # Debian keeps some headers there, where its compilers look
fi
step "configure" cmake -S "$ROOT" -B "$build" "${options[@]}"
step "build" cmake --build "$build" --target lckv_cuda conformance_cuda_test conformance_cuda_golden_test -- --quiet

export LCKV_GPU_LIBRARY="$build/bin/liblckv_cuda.so"
results=()
failed=0
check() { # name, command…
  local name="$1" start=$SECONDS outcome=passed
  shift
  "$@" >"$build/$name.log" 2>&1 || { outcome=failed; failed=1; tail -n 20 "$build/$name.log"; }
  printf '%-28s %-7s %4d s\n' "$name" "$outcome" $((SECONDS - start))
  results+=("{\"name\":\"$name\",\"outcome\":\"$outcome\",\"seconds\":$((SECONDS - start))}")
}

if [ -n "$device" ]; then
  say "checks on $device"
  check conformance timeout 150 "$build/tests/conformance/conformance_cuda_test"
  check golden timeout 200 "$build/tests/conformance/conformance_cuda_golden_test"
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      check "sanitizer_$tool" timeout 90 compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$build/tests/conformance/conformance_cuda_golden_test" --gtest_filter='*GoldenLogitsTest*llama_gqa_tied*'
    done
  fi
fi
joined=$(IFS=,; printf '%s' "${results[*]-}")
printf '{"device":"%s","checks":[%s]}\n' "$device" "$joined" >"$build/check.json"
exit "$failed"
