#pragma once

#include <memory>
#include <string>

#include "cache/client/cache_client.h"
#include "rpc/channel.h"

namespace lckv {

struct CacheClientOptions {
  std::string address;  // host:port
  ChannelSecurity security = {};
};

// A cache node behind gRPC. Connects with the first call.
std::unique_ptr<CacheClient> MakeGrpcCacheClient(const CacheClientOptions& options);

}  // namespace lckv
