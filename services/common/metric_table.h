#pragma once

#include <array>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lckv {

enum class MetricType { kCounter, kGauge, kHistogram };
absl::string_view MetricTypeName(MetricType type);  // "counter", …

// A label and every value it can have. Counted values that are not listed become "other", which
// must then be.
struct MetricLabel {
  absl::string_view name;
  absl::Span<const absl::string_view> values;
};

// What one metric promises to those who read it: docs/metrics.md is made from these. Names start
// with "lckv_" ("vllm:" and "process_" for those that others' tools read) and end in their unit
// (counters in "_total").
struct MetricDescriptor {
  absl::string_view name;
  MetricType type = MetricType::kGauge;
  absl::string_view unit;                  // of the value: "seconds", "bytes", "turns", …
  absl::string_view help;                  // what it counts
  absl::string_view when_bad;              // which values are bad and what to do then
  std::array<MetricLabel, 2> labels = {};  // a label without a name: none
  absl::Span<const double> buckets = {};   // histograms: upper bounds, ascending
};

// All metrics of a service: constants that live as long as the program.
using MetricTable = absl::Span<const MetricDescriptor>;

// Upper bounds in seconds. For times to first token: from a hot session's to a prompt's that takes
// minutes.
inline constexpr double kTimeToFirstTokenBuckets[] = {
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
inline constexpr double kInterTokenBuckets[] = {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015,
                                                0.02,  0.03,   0.05,  0.075,  0.1,  0.15,
                                                0.2,   0.3,    0.5,   1,      2.5};
// From milliseconds to ten minutes: whole turns, restores, waits.
inline constexpr double kDurationBuckets[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
                                              1,     2,     5,     10,   20,   50,   100, 200, 600};

// What came of reading a file again because it changed.
inline constexpr absl::string_view kLoadOutcomes[] = {"ok", "failed"};

// The names of status codes, as absl::StatusCodeToString writes them.
inline constexpr absl::string_view kStatusCodeNames[] = {"OK",
                                                         "CANCELLED",
                                                         "UNKNOWN",
                                                         "INVALID_ARGUMENT",
                                                         "DEADLINE_EXCEEDED",
                                                         "NOT_FOUND",
                                                         "ALREADY_EXISTS",
                                                         "PERMISSION_DENIED",
                                                         "RESOURCE_EXHAUSTED",
                                                         "FAILED_PRECONDITION",
                                                         "ABORTED",
                                                         "OUT_OF_RANGE",
                                                         "UNIMPLEMENTED",
                                                         "INTERNAL",
                                                         "UNAVAILABLE",
                                                         "DATA_LOSS",
                                                         "UNAUTHENTICATED",
                                                         "other"};

}  // namespace lckv
