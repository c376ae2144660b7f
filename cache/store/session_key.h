#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// A session's name. REQUIRES, wherever one is passed: ValidateSessionName says OK.
struct SessionName {
  std::string tenant;
  std::string session_id;
};

template <typename Message>
SessionName NameOf(const Message& message) {
  return {message.tenant(), message.session_id()};
}

// The store's keys (cache/FORMAT.md).
std::string TenantPrefix(absl::string_view tenant);  // of the session keys of one tenant
std::string SessionKeyOf(const SessionName& name);   // in the tables sessions and leases
std::string PagePrefix(const SessionName& name);     // of the page keys of one session
std::string PageKeyOf(const SessionName& name, const v1::PageEntry& page);

}  // namespace lckv
