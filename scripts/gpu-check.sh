#!/usr/bin/env bash
# gpu-check.sh [--quick]: builds engine/ with CUDA for the GPU at hand, checks it there and measures it, in less than ten
# minutes. Needs nvcc, CMake, Ninja and a C++20 compiler; the libraries come from build/gpu-pack (scripts/gpu-pack.sh) or
# from the system. Prints a line for each check and the benchmark's tables, and writes both to build/gpu/check.json.
#
# --quick: the same steps without a GPU, to try this script: the simulated GPU, a small part of the checks, tiny shapes on
# it and on the CPU; build/gpu-quick/check.json.
#
# LCKV_GPU_SECONDS (570): the time for all of it; the benchmark gets what building and checking leave. LCKV_GPU_ARCHITECTURES
# (native), LCKV_COMMIT (git's): for machines where they cannot be found out.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

quick=0
case "${1-}" in
  "") ;;
  --quick) quick=1 ;;
  *) die "usage: gpu-check.sh [--quick]" ;;
esac
limit="${LCKV_GPU_SECONDS:-570}"
commit="${LCKV_COMMIT:-$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)}"
pack="$ROOT/build/gpu-pack"
options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DLCKV_SERVICES=OFF)
targets=(engine_bench conformance_cuda_engine_test conformance_cuda_layers_test)
if [ "$quick" = 1 ]; then
  build="$ROOT/build/gpu-quick"
  device="simulated GPU"
  options+=(-DLCKV_CUDA=OFF)
  targets+=(lckv_cuda_sim)
  unset LCKV_GPU_LIBRARY
else
  build="$ROOT/build/gpu"
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || true
  [ -n "$device" ] || say "no GPU here: builds only (set LCKV_GPU_ARCHITECTURES)"
  options+=(-DLCKV_CUDA=ON "-DLCKV_CUDA_ARCHITECTURES=${LCKV_GPU_ARCHITECTURES:-native}")
  targets+=(lckv_cuda conformance_cuda_test conformance_cuda_golden_test)
  export LCKV_GPU_LIBRARY="$build/bin/liblckv_cuda.so"
fi
mkdir -p "$build"
if [ -d "$pack" ]; then
  options+=("-DCMAKE_PREFIX_PATH=$pack/usr" "-DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu")
  export LD_LIBRARY_PATH="$pack/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export CPATH="$pack/usr/include/x86_64-linux-gnu"  # Debian keeps some headers there, where its compilers look
fi
step "configure" cmake -S "$ROOT" -B "$build" "${options[@]}"
step "build" cmake --build "$build" --target "${targets[@]}" -- --quiet
build_seconds=$SECONDS
tests="$build/tests/conformance"

# Checks run side by side: they are small, and launching keeps one core busy each.
names=()
begin_check() { # name, seconds at most, command…
  local name="$1" most="$2" begin=$SECONDS
  shift 2
  names+=("$name")
  (
    status=0
    timeout "$most" "$@" >"$build/$name.log" 2>&1 || status=$?
    printf '%s %s\n' "$status" $((SECONDS - begin)) >"$build/$name.outcome"
  ) &
}

results=()
failed=0
record() { # name, exit status, seconds
  local outcome=passed
  if [ "$2" = 124 ]; then outcome="timed out"; elif [ "$2" != 0 ]; then outcome=failed; fi
  printf '%-28s %-9s %4d s\n' "$1" "$outcome" "$3"
  results+=("{\"name\":\"$1\",\"outcome\":\"$outcome\",\"seconds\":$3}")
  if [ "$2" != 0 ]; then
    failed=1
    tail -n 20 "$build/$1.log"
  fi
}
end_checks() {
  local name status seconds
  wait
  for name in "${names[@]}"; do
    read -r status seconds <"$build/$name.outcome"
    record "$name" "$status" "$seconds"
  done
}

benchmarks=()
bench() { # name, seconds, flags…
  local name="$1" budget="$2" status=0 begin=$SECONDS
  shift 2
  rm -f "$build/$name.json"
  # Writes what it has after each model: a timeout leaves that.
  timeout $((budget + 20)) "$build/bin/engine_bench" --budget "$budget" --commit "$commit" --out "$build/$name.json" "$@" \
    >"$build/$name.md" 2>"$build/$name.log" || status=$?
  record "$name" "$status" $((SECONDS - begin))
  benchmarks+=("$name")
}

if [ "$quick" = 1 ]; then
  say "checks on the $device"
  begin_check cpu_gpu_agreement 120 "$tests/conformance_cuda_engine_test" --gtest_filter='*GreedyTokens*'
  begin_check batch_invariance 120 "$tests/conformance_cuda_engine_test" --gtest_filter='*NeitherBatch*'
  begin_check streamed_layers 120 "$tests/conformance_cuda_layers_test" --gtest_filter='*SameBits/late_condensed'
  end_checks
  for name in cpu cuda-sim; do
    bench "benchmark_$name" 60 --device "$name" --shapes tiny --threads 2
  done
elif [ -n "$device" ]; then
  say "checks on $device"
  export LCKV_TEST_ALL_MAPS=1
  golden="$tests/conformance_cuda_golden_test"
  begin_check conformance 150 "$tests/conformance_cuda_test" --gtest_filter='*AgreesWithReference*'
  begin_check batch_invariance 150 "$tests/conformance_cuda_test" --gtest_filter='-*AgreesWithReference*'
  begin_check golden 150 "$golden" --gtest_filter='*GoldenLogitsTest*'
  for shard in 0 1 2 3; do
    begin_check "encode_equality_$((shard + 1))_of_4" 150 env GTEST_TOTAL_SHARDS=4 GTEST_SHARD_INDEX="$shard" \
      "$golden" --gtest_filter='*GoldenBitsTest*'
  done
  begin_check cpu_gpu_agreement 60 "$tests/conformance_cuda_engine_test" --gtest_filter='*GreedyTokens*'
  begin_check engine_batch_invariance 60 "$tests/conformance_cuda_engine_test" --gtest_filter='*NeitherBatch*'
  begin_check streamed_layers 90 "$tests/conformance_cuda_layers_test" --gtest_filter='*/late_*'
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      begin_check "sanitizer_$tool" 150 compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$golden" --gtest_filter='*GoldenLogitsTest*llama_gqa_tied*'
    done
  else
    say "no compute-sanitizer here: not checked with it"
  fi
  end_checks
  left=$((limit - SECONDS - 20))
  if [ "$left" -ge 30 ]; then
    say "benchmark: $left s"
    bench benchmark "$left" --device cuda:0
  else
    say "no time left for the benchmark"
    failed=1
  fi
fi

joined=$(IFS=,; printf '%s' "${results[*]-}")
{
  printf '{"device":"%s","commit":"%s","build_seconds":%s,"checks":[%s]' "$device" "$commit" "$build_seconds" "$joined"
  for name in "${benchmarks[@]}"; do
    if [ -s "$build/$name.json" ]; then
      printf ',"%s":' "$name"
      cat "$build/$name.json"
    fi
  done
  printf '}\n'
} >"$build/check.json"
for name in "${benchmarks[@]}"; do
  printf '\n'
  cat "$build/$name.md"
done
say "all of it: $SECONDS s, ${build#"$ROOT"/}/check.json"
exit "$failed"
