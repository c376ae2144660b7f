#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/trace_context.h"

namespace lckv {

// Which traces are recorded. Thread-safe: it has no state.
struct Sampler {
  bool parent_based = true;  // a caller's decision counts, where there is one
  double ratio = 1;          // of the others, in [0, 1]

  // `parent` null: the trace begins here. The decision is a function of the trace id, so that all
  // services decide alike.
  bool Sample(const TraceContext* parent, const TraceId& trace_id) const;
};

// A sampler by its name in OTEL_TRACES_SAMPLER: always_on, always_off, traceidratio, and each with
// "parentbased_" before it. "": parentbased_always_on. `argument`: the ratio, "" is 1; other
// samplers have none. INVALID_ARGUMENT.
absl::StatusOr<Sampler> ParseSampler(absl::string_view name, absl::string_view argument);

}  // namespace lckv
