#include "engine/tokenizer/chat_template.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/tokenizer/jinja_outline.h"

namespace lckv {
namespace {

// Far above published templates (tens of kB).
constexpr size_t kMaxJinjaBytes = size_t{1} << 20;

constexpr absl::string_view kStart = "<|im_start|>";
constexpr absl::string_view kSystemPrefix = "<|im_start|>system\n";
constexpr absl::string_view kTurnEnd = "<|im_end|>\n";

// Conditions for "this is the first message and it is no system message".
constexpr absl::string_view kFirstIsNoSystem[] = {
    "if loop.first and messages[0].role!='system'", "if loop.first and message.role!='system'",
    "if loop.index0==0 and messages[0].role!='system'",
    "if loop.index0==0 and message.role!='system'"};

// Walks over the steps of a template; each Accept takes the next step if it is the one asked for.
class StepReader {
 public:
  explicit StepReader(absl::Span<const JinjaStep> steps) : steps_(steps) {}

  bool Accept(JinjaStep::Kind kind, absl::string_view text) {
    if (AtEnd() || steps_[next_].kind != kind || steps_[next_].text != text) return false;
    ++next_;
    return true;
  }
  bool AcceptStatement(absl::string_view code) { return Accept(JinjaStep::Kind::kStatement, code); }
  bool AcceptValue(absl::string_view code) { return Accept(JinjaStep::Kind::kValue, code); }
  bool AcceptText(absl::string_view text) { return Accept(JinjaStep::Kind::kText, text); }
  std::optional<absl::string_view> AcceptAnyText() {
    if (AtEnd() || steps_[next_].kind != JinjaStep::Kind::kText) return std::nullopt;
    return absl::string_view(steps_[next_++].text);
  }
  bool AtEnd() const { return next_ == steps_.size(); }
  size_t next() const { return next_; }

 private:
  absl::Span<const JinjaStep> steps_;
  size_t next_ = 0;
};

// Some templates first give the flag a value where the caller has not.
bool AcceptPromptFlagDefault(StepReader* reader) {
  if (!reader->AcceptStatement("if not add_generation_prompt is defined") &&
      !reader->AcceptStatement("if add_generation_prompt is not defined")) {
    return true;
  }
  return reader->AcceptStatement("set add_generation_prompt=false") &&
         reader->AcceptStatement("endif");
}

// The body of an `if` that puts a system message in front: a constant system turn.
bool AcceptDefaultSystem(StepReader* reader, std::string* default_system) {
  const std::optional<absl::string_view> text = reader->AcceptAnyText();
  if (!text || !reader->AcceptStatement("endif")) return false;
  absl::string_view content = *text;
  if (!absl::ConsumePrefix(&content, kSystemPrefix) || !absl::ConsumeSuffix(&content, kTurnEnd)) {
    return false;
  }
  *default_system = std::string(content);
  return !content.empty() && !absl::StrContains(content, "<|im_");
}

bool AcceptTurn(StepReader* reader) {
  return reader->AcceptText(kStart) && reader->AcceptValue("message.role") &&
         reader->AcceptText("\n") && reader->AcceptValue("message.content") &&
         reader->AcceptText(kTurnEnd);
}

bool AcceptGenerationPrompt(StepReader* reader) {
  return reader->AcceptStatement("if add_generation_prompt") &&
         reader->AcceptText("<|im_start|>assistant\n") && reader->AcceptStatement("endif");
}

// The whole of a ChatML template, with the default system message before the loop over messages or
// in its first round.
bool AcceptChatMl(StepReader* reader, std::string* default_system) {
  if (!AcceptPromptFlagDefault(reader)) return false;
  if (reader->AcceptStatement("if messages[0].role!='system'") &&
      !AcceptDefaultSystem(reader, default_system)) {
    return false;
  }
  if (!reader->AcceptStatement("for message in messages")) return false;
  const bool in_loop =
      default_system->empty() &&
      std::any_of(std::begin(kFirstIsNoSystem), std::end(kFirstIsNoSystem),
                  [&](absl::string_view condition) { return reader->AcceptStatement(condition); });
  if (in_loop && !AcceptDefaultSystem(reader, default_system)) return false;
  return AcceptTurn(reader) && reader->AcceptStatement("endfor") &&
         AcceptGenerationPrompt(reader) && reader->AtEnd();
}

}  // namespace

absl::Status ValidateMessages(absl::Span<const ChatMessage> messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "].role: not one of \"system\", \"user\", \"assistant\""));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ChatTemplate> ChatTemplate::FromJinja(absl::string_view jinja) {
  if (jinja.empty()) return absl::FailedPreconditionError("the checkpoint has no chat template");
  if (jinja.size() > kMaxJinjaBytes) {
    return absl::UnimplementedError(absl::StrCat("chat template of ", jinja.size(), " bytes"));
  }
  const absl::StatusOr<std::vector<JinjaStep>> steps = OutlineJinja(jinja);
  if (!steps.ok()) {
    return absl::UnimplementedError(absl::StrCat("chat template: ", steps.status().message()));
  }
  ChatTemplate chat_template;
  StepReader reader(*steps);
  if (!AcceptChatMl(&reader, &chat_template.default_system_)) {
    return absl::UnimplementedError(
        absl::StrCat("chat template: not ChatML from its step ", reader.next(), " on"));
  }
  return chat_template;
}

void ChatTemplate::AppendMessage(absl::string_view role, absl::string_view content,
                                 std::vector<Piece>* pieces) const {
  pieces->push_back({start_, true});
  pieces->push_back({absl::StrCat(role, "\n", content), false});
  pieces->push_back({end_of_turn_, true});
  pieces->push_back({"\n", false});
}

void ChatTemplate::AppendGenerationPrompt(std::vector<Piece>* pieces) const {
  pieces->push_back({start_, true});
  pieces->push_back({"assistant\n", false});
}

std::vector<ChatTemplate::Piece> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                      bool add_generation_prompt) const {
  std::vector<Piece> pieces;
  if (!default_system_.empty() && !messages.empty() && messages[0].role != "system") {
    AppendMessage("system", default_system_, &pieces);
  }
  for (const ChatMessage& message : messages) {
    AppendMessage(message.role, message.content, &pieces);
  }
  if (add_generation_prompt) AppendGenerationPrompt(&pieces);
  return pieces;
}

std::string ChatTemplate::RenderText(absl::Span<const ChatMessage> messages,
                                     bool add_generation_prompt) const {
  std::string text;
  for (const Piece& piece : Render(messages, add_generation_prompt)) text += piece.text;
  return text;
}

std::vector<ChatTemplate::Piece> ChatTemplate::RenderContinuation(
    bool reply_ended, absl::Span<const ChatMessage> messages) const {
  std::vector<Piece> pieces;
  if (!reply_ended) pieces.push_back({end_of_turn_, true});
  pieces.push_back({"\n", false});
  for (const ChatMessage& message : messages) {
    AppendMessage(message.role, message.content, &pieces);
  }
  AppendGenerationPrompt(&pieces);
  return pieces;
}

}  // namespace lckv
