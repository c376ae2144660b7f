#include "engine/model/json_fields.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text, absl::string_view where) {
  nlohmann::json value =
      nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": malformed JSON"));
  }
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": not a JSON object"));
  }
  return value;
}

absl::Status JsonFields::Error(absl::string_view field, absl::string_view problem) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, ": ", field, ": ", problem));
}

const nlohmann::json* JsonFields::Find(absl::string_view field) const {
  const auto found = object_.find(std::string(field));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<int64_t> JsonFields::ToInt(absl::string_view field, const nlohmann::json& value,
                                          int64_t min, int64_t max) const {
  if (!value.is_number_integer()) return Error(field, "not an integer");
  // Unsigned values over INT64_MAX are large, not negative.
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  const int64_t number = huge ? INT64_MAX : value.get<int64_t>();
  if (number < min || number > max) {
    return Error(field, absl::StrCat(number, " is outside [", min, ", ", max, "]"));
  }
  return number;
}

absl::StatusOr<int64_t> JsonFields::Int(absl::string_view field, int64_t min, int64_t max,
                                        std::optional<int64_t> fallback) const {
  if (const nlohmann::json* value = Find(field)) return ToInt(field, *value, min, max);
  if (fallback.has_value()) return *fallback;
  return Error(field, "missing");
}

absl::StatusOr<double> JsonFields::Number(absl::string_view field,
                                          std::optional<double> fallback) const {
  if (const nlohmann::json* value = Find(field)) {
    if (!value->is_number()) return Error(field, "not a number");
    return value->get<double>();
  }
  if (fallback.has_value()) return *fallback;
  return Error(field, "missing");
}

absl::StatusOr<bool> JsonFields::Bool(absl::string_view field, bool fallback) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Error(field, "not true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(absl::string_view field,
                                               std::optional<std::string> fallback) const {
  if (const nlohmann::json* value = Find(field)) {
    if (!value->is_string()) return Error(field, "not a string");
    return value->get<std::string>();
  }
  if (fallback.has_value()) return *std::move(fallback);
  return Error(field, "missing");
}

absl::StatusOr<std::vector<int64_t>> JsonFields::IntOrList(absl::string_view field, int64_t min,
                                                           int64_t max, size_t max_count) const {
  std::vector<int64_t> numbers;
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return numbers;
  if (!value->is_array()) {
    LCKV_ASSIGN_OR_RETURN(const int64_t number, ToInt(field, *value, min, max));
    numbers.push_back(number);
    return numbers;
  }
  if (value->size() > max_count)
    return Error(field, absl::StrCat("more than ", max_count, " items"));
  for (const nlohmann::json& item : *value) {
    LCKV_ASSIGN_OR_RETURN(const int64_t number, ToInt(field, item, min, max));
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace lckv
