#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/listen_address.h"

namespace lckv::gateway {

// Looks names up. Thread-safe.
class HostResolver {
 public:
  virtual ~HostResolver() = default;

  // The addresses of `name`, each "address:port" with the port of `name`, sorted, none twice.
  // Blocks for as long as the system's resolver takes. NOT_FOUND: the name has no address;
  // UNAVAILABLE: nobody could say.
  virtual absl::StatusOr<std::vector<std::string>> Resolve(const ListenAddress& name) = 0;

  // The system's: files, DNS, as the machine is set up. Of a name with addresses of both families
  // those of one are taken, the family that the system prefers: a machine with both is one worker.
  static HostResolver* System();
};

}  // namespace lckv::gateway
