#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace lckv {

// The domain of every google.rpc.ErrorInfo that we send.
inline constexpr char kErrorDomain[] = "lckv";

// Status codes of both libraries have the same numbers. The details of base/error_info.h travel as
// google.rpc.ErrorInfo and google.rpc.RetryInfo inside a google.rpc.Status
// ("grpc-status-details-bin"). Messages longer than 1 KiB are cut: headers are bounded.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The way back. Details that do not parse, and those of other domains, are left out; an unknown
// code is UNKNOWN.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace lckv
