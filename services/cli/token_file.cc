#include "services/cli/token_file.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace lckv {

absl::StatusOr<std::vector<int32_t>> ReadTokenFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("tokens") || !json["tokens"].is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no JSON object with \"tokens\": […]"));
  }
  std::vector<int32_t> tokens;
  for (const auto& token : json["tokens"]) {
    if (!token.is_number_integer() || token < 0 || token > INT32_MAX) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tokens[", tokens.size(), "] is no token id"));
    }
    tokens.push_back(token.get<int32_t>());
  }
  if (tokens.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": no tokens"));
  return tokens;
}

}  // namespace lckv
