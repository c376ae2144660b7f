#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "services/common/tracing/export_queue.h"
#include "services/common/tracing/tracing_options.h"

namespace lckv {

// Sends spans by OTLP over gRPC to `options.target`, which must be there. Connects with the first
// call. INVALID_ARGUMENT: the file of roots cannot be read.
absl::StatusOr<std::unique_ptr<SpanExporter>> MakeOtlpExporter(const TracingOptions& options);

}  // namespace lckv
