#pragma once

// Internal to engine/model: typed access to the fields of a JSON object that came from outside.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// Parses a JSON object; INVALID_ARGUMENT starting with `where` for malformed text and for anything
// but an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text, absl::string_view where);

// The fields of one object. A null counts as absent. Each getter returns the fallback when the
// field is absent, or INVALID_ARGUMENT when there is none; INVALID_ARGUMENT too for another type or
// a value out of range. Messages start with `where` and name the field. Holds references: the
// object must outlive this.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  // Null when absent.
  const nlohmann::json* Find(absl::string_view field) const;
  absl::StatusOr<int64_t> Int(absl::string_view field, int64_t min, int64_t max,
                              std::optional<int64_t> fallback = std::nullopt) const;
  absl::StatusOr<double> Number(absl::string_view field,
                                std::optional<double> fallback = std::nullopt) const;
  absl::StatusOr<bool> Bool(absl::string_view field, bool fallback) const;
  absl::StatusOr<std::string> String(absl::string_view field,
                                     std::optional<std::string> fallback = std::nullopt) const;
  // One integer or a list of them; empty when absent.
  absl::StatusOr<std::vector<int64_t>> IntOrList(absl::string_view field, int64_t min, int64_t max,
                                                 size_t max_count) const;

  // INVALID_ARGUMENT "<where>: <field>: <problem>".
  absl::Status Error(absl::string_view field, absl::string_view problem) const;

 private:
  absl::StatusOr<int64_t> ToInt(absl::string_view field, const nlohmann::json& value, int64_t min,
                                int64_t max) const;

  const nlohmann::json& object_;
  const std::string where_;
};

}  // namespace lckv
