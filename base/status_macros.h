#pragma once

// LCKV_RETURN_IF_ERROR(expr);              returns the status of `expr` from this function unless
// it is OK LCKV_ASSIGN_OR_RETURN(auto x, expr);     x = value of the StatusOr `expr`, or returns
// its status

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lckv {

// `status` with "prefix: " put in front of its message; code and payloads stay. An OK status is
// returned as it is.
inline absl::Status Annotate(const absl::Status& status, absl::string_view prefix) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(prefix, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace lckv

#define LCKV_STATUS_CONCAT_INNER(a, b) a##b
#define LCKV_STATUS_CONCAT(a, b) LCKV_STATUS_CONCAT_INNER(a, b)

#define LCKV_RETURN_IF_ERROR(expr)                                \
  do {                                                            \
    if (absl::Status lckv_status_ = (expr); !lckv_status_.ok()) { \
      return lckv_status_;                                        \
    }                                                             \
  } while (false)

#define LCKV_ASSIGN_OR_RETURN(lhs, expr) \
  LCKV_ASSIGN_OR_RETURN_INNER(LCKV_STATUS_CONCAT(lckv_status_or_, __LINE__), lhs, expr)
#define LCKV_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return std::move(tmp).status();    \
  lhs = *std::move(tmp)
