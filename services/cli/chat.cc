// `lckv chat`: turns of a conversation with a gateway, one (--prompt) or as many as are typed.

#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "services/cli/command.h"
#include "services/cli/gateway_client.h"
#include "services/cli/json_output.h"
#include "services/cli/token_file.h"

namespace lckv {
namespace {

struct ChatOptions {
  GatewayFlags gateway;
  std::string session;  // empty: a new one
  std::optional<std::string> prompt;
  std::string system;
  bool raw = false;
  bool parse_special = false;
  std::string tokens_json;
  std::optional<float> temperature, top_p, min_p;
  std::optional<uint32_t> top_k, max_tokens;
  std::optional<uint64_t> seed;
  bool ignore_eos = false;
  std::string encode = "iterated";
  std::string durability = "durable";
  bool json = false;
};

// What the server answers a turn with: a stream of frames.
using FrameReader = std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>;

v1::SamplingParams Sampling(const ChatOptions& options) {
  v1::SamplingParams sampling;
  if (options.temperature) sampling.set_temperature(*options.temperature);
  if (options.top_p) sampling.set_top_p(*options.top_p);
  if (options.min_p) sampling.set_min_p(*options.min_p);
  if (options.top_k) sampling.set_top_k(*options.top_k);
  if (options.max_tokens) sampling.set_max_tokens(*options.max_tokens);
  if (options.seed) sampling.set_seed(*options.seed);
  sampling.set_ignore_eos(options.ignore_eos);
  return sampling;
}

// One conversation: remembers the session's id from the first answer on.
class Conversation {
 public:
  Conversation(const ChatOptions& options, GatewayClient gateway, v1::EncodePolicy encode,
               v1::Durability durability)
      : options_(options),
        encode_(std::move(encode)),
        durability_(durability),
        gateway_(std::move(gateway)),
        session_(options.session) {}

  absl::Status Say(const std::string& text) {
    const auto context = gateway_.NewCall();
    return Receive(options_.raw ? StartText(context.get(), text) : StartChat(context.get(), text));
  }

  absl::Status Send(const std::vector<int32_t>& tokens) {
    const auto context = gateway_.NewCall();
    v1::GenerateRequest request = NewGenerateRequest();
    request.mutable_tokens()->mutable_ids()->Assign(tokens.begin(), tokens.end());
    return Receive(gateway_.stub().Generate(context.get(), request));
  }

 private:
  template <typename Request>
  void FillCommon(Request& request) const {
    request.set_session_id(session_);
    request.set_create_session(true);
    *request.mutable_sampling() = Sampling(options_);
    *request.mutable_encode() = encode_;
    request.set_durability(durability_);
  }

  v1::GenerateRequest NewGenerateRequest() const {
    v1::GenerateRequest request;
    FillCommon(request);
    return request;
  }

  FrameReader StartText(grpc::ClientContext* context, const std::string& text) const {
    v1::GenerateRequest request = NewGenerateRequest();
    request.set_text(text);
    request.set_parse_special(options_.parse_special);
    return gateway_.stub().Generate(context, request);
  }

  FrameReader StartChat(grpc::ClientContext* context, const std::string& text) const {
    v1::ChatRequest request;
    FillCommon(request);
    if (!options_.system.empty() && !spoke_) {
      v1::Message* message = request.add_messages();
      message->set_role("system");
      message->set_content(options_.system);
    }
    v1::Message* message = request.add_messages();
    message->set_role("user");
    message->set_content(text);
    return gateway_.stub().Chat(context, request);
  }

  absl::Status Receive(FrameReader reader) {
    v1::GenerateResponse frame;
    while (reader->Read(&frame)) {
      if (!frame.session_id().empty()) session_ = frame.session_id();
      if (options_.json) {
        std::cout << ToLine(ToJson(frame)) << std::endl;
        continue;
      }
      std::cout << frame.text() << std::flush;
      if (frame.has_done()) PrintSummary(frame.done());
    }
    LCKV_RETURN_IF_ERROR(gateway_.ToStatus(reader->Finish()));
    spoke_ = true;
    return absl::OkStatus();
  }

  void PrintSummary(const v1::TurnResult& done) const {
    const v1::Usage& usage = done.usage();
    const v1::Timings& timings = done.timings();
    const double rate =
        timings.decode_seconds() > 0 ? usage.generated_tokens() / timings.decode_seconds() : 0;
    std::cout << std::endl;
    std::cerr << absl::StreamFormat(
        "[%s, version %d, %s: %d tokens in, %d out (%s), %.1f tokens/s, first after %.3f s; "
        "%d cached, %d encoded again, %s restored in %.3f s, %s; %d B KV a token]\n",
        session_, done.version(), done.worker(), usage.input_tokens(), usage.generated_tokens(),
        Name(done.finish_reason()), rate, timings.time_to_first_token_seconds(),
        usage.cached_tokens(), usage.reencoded_tokens(),
        FormatBytes(static_cast<int64_t>(usage.restored_bytes())), timings.restore_seconds(),
        Name(done.restore_source()), done.kv_bytes_per_token());
  }

  const ChatOptions& options_;
  const v1::EncodePolicy encode_;
  const v1::Durability durability_;
  const GatewayClient gateway_;
  std::string session_;
  bool spoke_ = false;
};

// Turns as they are typed, until the end of the input. A failed turn is reported and the
// conversation goes on.
absl::Status Converse(Conversation& conversation) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  std::string line;
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    if (absl::Status status = conversation.Say(line); !status.ok()) {
      if (!terminal) return status;
      std::cerr << "lckv: " << status << "\n";
    }
  }
  if (terminal) std::cout << std::endl;
  return absl::OkStatus();
}

absl::Status RunChat(const ChatOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const v1::EncodePolicy encode, ParseEncodePolicy(options.encode));
  LCKV_ASSIGN_OR_RETURN(const v1::Durability durability, ParseDurability(options.durability));
  LCKV_ASSIGN_OR_RETURN(GatewayClient gateway, GatewayClient::Make(options.gateway));
  Conversation conversation(options, std::move(gateway), encode, durability);
  if (!options.tokens_json.empty()) {
    LCKV_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, ReadTokenFile(options.tokens_json));
    return conversation.Send(tokens);
  }
  if (options.prompt) return conversation.Say(*options.prompt);
  return Converse(conversation);
}

}  // namespace

void AddChat(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command =
      Declare(tool, "chat", "Talks to a gateway: text on stdout, usage and timings on stderr",
              options, &RunChat, chosen);
  AddGatewayFlags(*command, &options->gateway);
  command->add_option("--session", options->session,
                      "Session to go on with, or the name of a new one (default: a new name)");
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "One turn with this text, then exit");
  command->add_option("--system", options->system, "System message of a new session");
  command->add_flag("--raw", options->raw, "Send the text as it is, without the chat template");
  command->add_flag("--parse-special", options->parse_special,
                    "With --raw: special token strings become their ids");
  command->add_option("--tokens-json", options->tokens_json, "One turn with {\"tokens\": [...]}")
      ->excludes(prompt);
  command->add_option("--temperature", options->temperature, "0: greedy (default)");
  command->add_option("--top-k", options->top_k);
  command->add_option("--top-p", options->top_p);
  command->add_option("--min-p", options->min_p);
  command->add_option("--seed", options->seed, "Default: derived from session and turn");
  command->add_option("--max-tokens", options->max_tokens, "Default: 256");
  command->add_flag("--ignore-eos", options->ignore_eos);
  command->add_option("--encode", options->encode, "New session: iterated, iterated(K), sequential")
      ->capture_default_str();
  command->add_option("--durability", options->durability, "New session: durable or memory")
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object a frame on stdout, nothing else");
}

}  // namespace lckv
