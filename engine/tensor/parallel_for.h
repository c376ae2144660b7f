#pragma once

// Load-time work on several cores, before any thread pool exists.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lckv {

inline constexpr int kMaxLoadThreads = 8;

inline int LoadThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxLoadThreads);
}

// Calls fn(i) once for each i in [0, count), on up to `threads` threads of which the caller is one,
// in any order. Returns when all calls have.
template <typename Fn>
void ParallelFor(int64_t count, int threads, const Fn& fn) {
  std::atomic<int64_t> next{0};
  const auto drain = [&] {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) fn(i);
  };
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < std::min<int64_t>(threads, count); ++t) helpers.emplace_back(drain);
  drain();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace lckv
