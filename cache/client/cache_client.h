#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache/transport/page_transport.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// The control plane of a cache node, as a worker sees it. Thread-safe; calls block until done or
// `deadline` (never call from a gRPC callback or the step loop). Statuses are those of cache.proto,
// with base/error_info.h details; a node that is unreachable, or stops before it answers, is
// UNAVAILABLE with reason CACHE_NODE_UNAVAILABLE. Nothing is retried here: callers know what is
// safe to repeat.
class CacheClient {
 public:
  virtual ~CacheClient() = default;
  virtual absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request,
                                                      absl::Time deadline) = 0;
  virtual absl::Status Renew(const v1::RenewRequest& request, absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::ReserveResponse> Reserve(const v1::ReserveRequest& request,
                                                      absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::CommitResponse> Commit(const v1::CommitRequest& request,
                                                    absl::Time deadline) = 0;
  virtual absl::Status Release(const v1::ReleaseRequest& request, absl::Time deadline) = 0;
  virtual absl::Status Touch(const v1::TouchRequest& request, absl::Time deadline) = 0;
  virtual absl::Status Delete(const v1::DeleteRequest& request, absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request,
                                                absl::Time deadline) = 0;
  virtual PageTransport& transport() = 0;
};

}  // namespace lckv
