#include "services/gateway/tenant.h"

namespace lckv::gateway {

std::string TenantOf(const grpc::ServerContextBase&) { return "default"; }

}  // namespace lckv::gateway
