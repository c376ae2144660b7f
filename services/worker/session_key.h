#pragma once

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lckv::worker {

// A session's name across the deployment. Sessions of different tenants never meet.
struct SessionKey {
  std::string tenant;
  std::string session_id;  // 1 to 128 of [A-Za-z0-9._-]

  friend bool operator==(const SessionKey&, const SessionKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const SessionKey& key) {
    return H::combine(std::move(state), key.tenant, key.session_id);
  }
};

// The session's name inside the engine. Unambiguous: a session id holds no slash.
inline std::string EngineName(const SessionKey& key) {
  return absl::StrCat(key.session_id, "/", key.tenant);
}

}  // namespace lckv::worker
