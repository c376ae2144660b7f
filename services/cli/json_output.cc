#include "services/cli/json_output.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "services/cli/gateway_client.h"

namespace lckv {

using Json = nlohmann::ordered_json;

Json ToJson(const v1::GenerateResponse& frame) {
  Json json;
  if (!frame.session_id().empty()) {
    json["session_id"] = frame.session_id();
    json["seed"] = frame.seed();
  }
  if (frame.token_ids_size() > 0) {
    json["token_ids"] = std::vector<int32_t>(frame.token_ids().begin(), frame.token_ids().end());
  }
  if (!frame.text().empty()) json["text"] = frame.text();
  if (frame.has_done()) json["done"] = ToJson(frame.done());
  return json;
}

Json ToJson(const v1::TurnResult& result) {
  const v1::Usage& usage = result.usage();
  const v1::Timings& timings = result.timings();
  return {
      {"finish_reason", Name(result.finish_reason())},
      {"usage",
       {{"input_tokens", usage.input_tokens()},
        {"generated_tokens", usage.generated_tokens()},
        {"cached_tokens", usage.cached_tokens()},
        {"reencoded_tokens", usage.reencoded_tokens()},
        {"restored_bytes", usage.restored_bytes()}}},
      {"version", result.version()},
      {"restore_source", Name(result.restore_source())},
      {"timings",
       {{"queue_seconds", timings.queue_seconds()},
        {"restore_seconds", timings.restore_seconds()},
        {"encode_seconds", timings.encode_seconds()},
        {"time_to_first_token_seconds", timings.time_to_first_token_seconds()},
        {"decode_seconds", timings.decode_seconds()},
        {"total_seconds", timings.total_seconds()}}},
      {"encode_residual", result.encode_residual()},
      {"kv_changed", result.kv_changed()},
      {"numerics_changed", result.numerics_changed()},
      {"worker", result.worker()},
      {"continuations", result.continuations()},
      {"kv_bytes_per_token", result.kv_bytes_per_token()},
  };
}

Json ToJson(const v1::SessionInfo& session) {
  return {
      {"session_id", session.session_id()},
      {"version", session.version()},
      {"transcript_tokens", session.transcript_tokens()},
      {"kv_tokens", session.kv_tokens()},
      {"state", Name(session.state())},
      {"worker", session.worker()},
      {"encode", Name(session.encode())},
      {"durability", Name(session.durability())},
      {"created_unix_ms", session.created_unix_ms()},
      {"updated_unix_ms", session.updated_unix_ms()},
      {"kv_bytes", session.kv_bytes()},
  };
}

Json ToJson(const v1::ModelInfo& model) {
  return {
      {"name", model.name()},
      {"architecture", model.architecture()},
      {"layer_map", model.layer_map()},
      {"fingerprint", absl::BytesToHexString(model.fingerprint())},
      {"max_context", model.max_context()},
      {"vocab_size", model.vocab_size()},
      {"kv_bytes_per_token", model.kv_bytes_per_token()},
      {"kv_bytes_per_token_full_map", model.kv_bytes_per_token_full_map()},
      {"has_chat_template", model.has_chat_template()},
      {"passes", model.passes()},
  };
}

std::string ToLine(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lckv
