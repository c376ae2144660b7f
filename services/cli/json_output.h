#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "lckv/v1/inference.pb.h"

namespace lckv {

// Responses as JSON, with the protocol's field names; enum values in lower case.
nlohmann::ordered_json ToJson(const v1::GenerateResponse& frame);
nlohmann::ordered_json ToJson(const v1::TurnResult& result);
nlohmann::ordered_json ToJson(const v1::SessionInfo& session);
nlohmann::ordered_json ToJson(const v1::ModelInfo& model);

// One line of text; bytes that are no UTF-8 are replaced.
std::string ToLine(const nlohmann::ordered_json& json);

}  // namespace lckv
