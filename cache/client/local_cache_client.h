#pragma once

#include <memory>

#include "cache/client/cache_client.h"
#include "cache/core/cache_core.h"

namespace lckv {

// A client of a cache node in the same process, without gRPC in between: for tests of what stands
// on CacheClient. Deadlines are looked at when a call begins. `core` must outlive it.
std::unique_ptr<CacheClient> MakeLocalCacheClient(CacheCore* core);

}  // namespace lckv
