#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lckv {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// INVALID_ARGUMENT, naming the message, unless every role is one of the three above: what a request
// must pass before it is rendered.
absl::Status ValidateMessages(absl::Span<const ChatMessage> messages);

// Renders messages to the text a chat model was trained on. So far ChatML
// ("<|im_start|>role\ncontent<|im_end|>\n"), with the default system message where the checkpoint's
// template adds one. Immutable; thread-safe.
class ChatTemplate {
 public:
  // Recognises ChatML in the checkpoint's Jinja text (`jinja`), however it is spelled; a default
  // system message in it (SmolLM2) is taken over. UNIMPLEMENTED when it is something else,
  // FAILED_PRECONDITION when it is empty.
  static absl::StatusOr<ChatTemplate> FromJinja(absl::string_view jinja);

  // Contents are text: special token strings inside a message must not become special tokens, so a
  // rendering is a list of pieces. Encode pieces with `special` with parse_special on, others with
  // it off, and join the ids. A special piece is one token, and all text between two of them is one
  // piece, so the ids are those of the whole text encoded at once.
  struct Piece {
    std::string text;
    bool special = false;
  };
  // The whole conversation.
  std::vector<Piece> Render(absl::Span<const ChatMessage> messages,
                            bool add_generation_prompt) const;
  // The same as one string, as the published template would give it.
  std::string RenderText(absl::Span<const ChatMessage> messages, bool add_generation_prompt) const;

  // What a later turn appends after an assistant reply: the reply's terminator if it is not there
  // yet (`reply_ended` false: the reply stopped at max_tokens), the newline after it, the new
  // messages and the generation prompt.
  std::vector<Piece> RenderContinuation(bool reply_ended,
                                        absl::Span<const ChatMessage> messages) const;

  // The token string that ends a reply: "<|im_end|>".
  absl::string_view end_of_turn() const { return end_of_turn_; }

 private:
  void AppendMessage(absl::string_view role, absl::string_view content,
                     std::vector<Piece>* pieces) const;
  void AppendGenerationPrompt(std::vector<Piece>* pieces) const;

  std::string start_ = "<|im_start|>";
  std::string end_of_turn_ = "<|im_end|>";
  std::string default_system_;  // empty: none
};

}  // namespace lckv
