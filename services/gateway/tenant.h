#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

namespace lckv::gateway {

// Whose sessions a call may see: the one place that decides it. It comes from who the caller is,
// never from a field of the request. Until callers are authenticated there is one tenant,
// "default".
std::string TenantOf(const grpc::ServerContextBase& context);

}  // namespace lckv::gateway
