#include "services/gateway/api_keys.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv::gateway {
namespace {

constexpr size_t kMaxTenantBytes = 64;

absl::Status Wrong(const YAML::Node& node, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", node.Mark().line + 1, ": ", what));
}

absl::StatusOr<std::string> Text(const YAML::Node& node, absl::string_view field) {
  if (!node.IsScalar() || node.Scalar().empty())
    return Wrong(node, absl::StrCat(field, ": want text"));
  return node.Scalar();
}

absl::StatusOr<Sha256Digest> ParseDigest(const YAML::Node& node) {
  LCKV_ASSIGN_OR_RETURN(const std::string text, Text(node, "sha256"));
  Sha256Digest digest{};
  if (text.size() != 2 * digest.size() || !std::all_of(text.begin(), text.end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      })) {
    return Wrong(node, "sha256: want 64 hexadecimal digits");
  }
  const std::string bytes = absl::HexStringToBytes(text);
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

absl::StatusOr<absl::Time> ParseExpiry(const YAML::Node& node) {
  LCKV_ASSIGN_OR_RETURN(const std::string text, Text(node, "expires"));
  absl::Time time;
  for (const char* format : {"%Y-%m-%d", absl::RFC3339_full}) {
    if (absl::ParseTime(format, text, &time, nullptr)) return time;
  }
  return Wrong(node, "expires: want a time such as 2027-01-31 or 2027-01-31T12:00:00Z");
}

absl::Status ParseField(absl::string_view name, const YAML::Node& value, ApiKey* key,
                        Sha256Digest* digest) {
  if (name == "sha256") {
    LCKV_ASSIGN_OR_RETURN(*digest, ParseDigest(value));
  } else if (name == "expires") {
    LCKV_ASSIGN_OR_RETURN(key->expires, ParseExpiry(value));
  } else if (name == "name") {
    LCKV_ASSIGN_OR_RETURN(key->name, Text(value, name));
  } else if (name == "tenant") {
    LCKV_ASSIGN_OR_RETURN(key->tenant, Text(value, name));
    if (absl::Status status = CheckTenantName(key->tenant); !status.ok()) {
      return Wrong(value, status.message());
    }
  } else {
    return Wrong(value, absl::StrCat("'", name, "' is not tenant, sha256, name or expires"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::pair<Sha256Digest, ApiKey>> ParseEntry(const YAML::Node& entry) {
  if (!entry.IsMap()) return Wrong(entry, "want tenant and sha256");
  for (const char* required : {"tenant", "sha256"}) {
    if (!entry[required]) return Wrong(entry, absl::StrCat("no ", required));
  }
  ApiKey key;
  Sha256Digest digest{};
  absl::flat_hash_set<std::string> seen;
  for (const auto& field : entry) {
    LCKV_ASSIGN_OR_RETURN(const std::string name, Text(field.first, "field"));
    if (!seen.insert(name).second) return Wrong(field.first, absl::StrCat(name, " twice"));
    LCKV_RETURN_IF_ERROR(ParseField(name, field.second, &key, &digest));
  }
  return std::pair(digest, std::move(key));
}

}  // namespace

absl::Status CheckTenantName(absl::string_view tenant) {
  const bool good = !tenant.empty() && tenant.size() <= kMaxTenantBytes &&
                    std::all_of(tenant.begin(), tenant.end(), [](char c) {
                      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
                             c == '_' || c == '-';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError("tenant: want 1 to 64 letters, digits, '.', '_' and '-'");
}

absl::StatusOr<ApiKeys> ApiKeys::Parse(const std::string& yaml) {
  ApiKeys keys;
  // yaml-cpp reports by exceptions; none leaves this function.
  try {
    const YAML::Node root = YAML::Load(yaml);
    if (!root.IsSequence()) {
      return absl::InvalidArgumentError("want a list of keys ([] for none)");
    }
    for (const YAML::Node& entry : root) {
      LCKV_ASSIGN_OR_RETURN(auto key, ParseEntry(entry));
      if (!keys.keys_.insert(std::move(key)).second) {
        return Wrong(entry, "the sha256 of an entry before it");
      }
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ": ", error.msg));
  }
  return keys;
}

const ApiKey* ApiKeys::Find(absl::string_view key) const {
  const auto found = keys_.find(Sha256Of(key));
  return found == keys_.end() ? nullptr : &found->second;
}

}  // namespace lckv::gateway
