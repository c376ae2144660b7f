#pragma once

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/sha256.h"

namespace lckv::gateway {

// Whose calls a key lets in.
struct ApiKey {
  std::string tenant;
  std::string name;  // for people
  absl::Time expires = absl::InfiniteFuture();
};

// A set of keys, known by their SHA-256 only. Immutable.
class ApiKeys {
 public:
  // From a YAML list:
  //   - tenant: acme              # letters, digits, ".", "_" and "-", 64 at most
  //     sha256: 9f86d081…         # of the whole key, 64 hexadecimal digits
  //     name: ci                  # optional
  //     expires: 2027-01-31       # optional; or 2027-01-31T12:00:00Z. From then on it is refused
  // An empty list lets nobody in; a file without a list is an error. INVALID_ARGUMENT, with the
  // line.
  static absl::StatusOr<ApiKeys> Parse(const std::string& yaml);

  // Null: not one of them. The look-up is by hash: its time says nothing about the keys.
  const ApiKey* Find(absl::string_view key) const;
  size_t size() const { return keys_.size(); }

 private:
  absl::flat_hash_map<Sha256Digest, ApiKey> keys_;
};

// OK if it can name a tenant. INVALID_ARGUMENT.
absl::Status CheckTenantName(absl::string_view tenant);

}  // namespace lckv::gateway
