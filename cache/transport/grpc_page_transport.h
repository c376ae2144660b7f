#pragma once

#include <memory>

#include "cache/transport/page_transport.h"
#include "lckv/v1/cache.grpc.pb.h"

namespace lckv {

// The largest piece of a page in one message of WritePages and ReadPages.
inline constexpr size_t kMaxChunkBytes = 1u << 20;

// Pages over the streams of the Cache service, in chunks: the data plane that is always there.
// `stub` must outlive it. Besides the errors of PageTransport: INTERNAL when the peer breaks the
// protocol (bytes that were not asked for, too few of them).
std::unique_ptr<PageTransport> MakeGrpcPageTransport(v1::Cache::StubInterface* stub);

}  // namespace lckv
