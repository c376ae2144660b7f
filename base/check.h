#pragma once

// Checks for programmer errors. The world's errors (files, peers, requests) are absl::Status, never
// a check.

#include <cstdio>
#include <cstdlib>

namespace lckv::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expression);
  std::fflush(stderr);
  std::abort();
}

}  // namespace lckv::internal

// Aborts when `condition` is false, in every build type.
#define LCKV_CHECK(condition) \
  ((condition) ? (void)0 : ::lckv::internal::CheckFailed(__FILE__, __LINE__, #condition))

// As LCKV_CHECK, in debug builds only: for checks inside hot loops.
#ifdef NDEBUG
#define LCKV_DCHECK(condition) ((void)sizeof(condition))
#else
#define LCKV_DCHECK(condition) LCKV_CHECK(condition)
#endif
