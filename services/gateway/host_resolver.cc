#include "services/gateway/host_resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace lckv::gateway {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<Addresses> LookUp(const std::string& host) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;  // else each address comes once for every type
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  const bool has_none = error == EAI_NONAME || error == EAI_NODATA;
  if (error != 0) {
    return absl::Status(has_none ? absl::StatusCode::kNotFound : absl::StatusCode::kUnavailable,
                        absl::StrCat(host, ": ", gai_strerror(error)));
  }
  return Addresses(found, &freeaddrinfo);
}

class SystemResolver final : public HostResolver {
 public:
  absl::StatusOr<std::vector<std::string>> Resolve(const ListenAddress& name) override {
    // getaddrinfo knows no brackets.
    const std::string host(absl::StripSuffix(absl::StripPrefix(name.host, "["), "]"));
    const absl::StatusOr<Addresses> found = LookUp(host);
    if (!found.ok()) return found.status();
    const int family = (*found)->ai_family;
    std::vector<std::string> addresses;
    for (const addrinfo* entry = found->get(); entry != nullptr; entry = entry->ai_next) {
      char text[NI_MAXHOST];
      if (entry->ai_family != family ||
          getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof(text), nullptr, 0,
                      NI_NUMERICHOST) != 0) {
        continue;
      }
      addresses.push_back(family == AF_INET6 ? absl::StrCat("[", text, "]:", name.port)
                                             : absl::StrCat(text, ":", name.port));
    }
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    return addresses;
  }
};

}  // namespace

HostResolver* HostResolver::System() {
  static SystemResolver* const resolver = new SystemResolver;
  return resolver;
}

}  // namespace lckv::gateway
