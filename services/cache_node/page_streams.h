#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>

#include "absl/status/status.h"
#include "cache/core/cache_core.h"
#include "lckv/v1/cache.pb.h"
#include "services/cache_node/cache_metrics.h"
#include "services/common/tracing/tracer.h"

namespace lckv {

// What the page streams of a service share. Must outlive them.
struct PageStreams {
  CacheCore* core;
  CacheMetrics* metrics;
  const Tracer* tracer;
  int max_streams;
  std::atomic<int> open_streams{0};
};

// The reactors of WritePages and ReadPages. They work on gRPC's threads: a chunk is one copy of at
// most 1 MiB. They free themselves. RESOURCE_EXHAUSTED: max_streams are open. INVALID_ARGUMENT: no
// deadline, or one that is more than ten minutes away (a stalled stream must end some time).
grpc::ServerReadReactor<v1::WritePagesRequest>* NewWritePages(
    PageStreams* streams, const grpc::ServerContextBase& context, v1::WritePagesResponse* response);
grpc::ServerWriteReactor<v1::ReadPagesResponse>* NewReadPages(
    PageStreams* streams, const grpc::ServerContextBase& context,
    const v1::ReadPagesRequest& request);

}  // namespace lckv
