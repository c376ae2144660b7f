#include "engine/tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "engine/tokenizer/jinja_outline.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using Json = nlohmann::json;
using ::lckv::testing::DataPath;
using ::lckv::testing::GoldenPath;
using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The template of the published SmolLM2 checkpoint.
constexpr char kSmolLm2Jinja[] =
    R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %})"
    R"({{ '<|im_start|>system\nYou are a helpful AI assistant named )"
    R"(SmolLM, trained by Hugging Face<|im_end|>\n' }})"
    R"({% endif %}{{'<|im_start|>' + message['role'] + '\n' )"
    R"(+ message['content'] + '<|im_end|>' + '\n'}})"
    R"({% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

Json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

std::string BardJinja() {
  return ReadJson(DataPath("models/bard-lckv-w2/tokenizer_config.json"))["chat_template"];
}

std::vector<ChatMessage> Messages(const Json& list) {
  std::vector<ChatMessage> messages;
  for (const Json& message : list) messages.push_back({message["role"], message["content"]});
  return messages;
}

std::vector<int32_t> EncodePieces(const Tokenizer& tokenizer,
                                  const std::vector<ChatTemplate::Piece>& pieces) {
  std::vector<int32_t> ids;
  for (const ChatTemplate::Piece& piece : pieces) {
    const auto part = tokenizer.Encode(piece.text, {.parse_special = piece.special});
    EXPECT_OK(part);
    if (part.ok()) ids.insert(ids.end(), part->begin(), part->end());
  }
  return ids;
}

TEST(ChatTemplate, RendersTheGoldenConversations) {
  ASSERT_OK_AND_ASSIGN(const ChatTemplate chat_template, ChatTemplate::FromJinja(kSmolLm2Jinja));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                       Tokenizer::Load(GoldenPath("tokenizers/smollm2.tokenizer.json")));
  int conversations = 0;
  for (const char* file : {"smollm2/cases.json", "smollm2/greedy.json"}) {
    for (const Json& c : ReadJson(GoldenPath(file))) {
      if (!c.contains("messages")) continue;
      ++conversations;
      const std::vector<ChatMessage> messages = Messages(c["messages"]);
      const bool prompt = c["add_generation_prompt"];
      EXPECT_OK(ValidateMessages(messages));
      EXPECT_EQ(chat_template.RenderText(messages, prompt), c["rendered"].get<std::string>());
      const Json& ids =
          c.contains("tokens") && !c.contains("prompt_tokens") ? c["tokens"] : c["prompt_tokens"];
      EXPECT_EQ(EncodePieces(*tokenizer, chat_template.Render(messages, prompt)),
                ids.get<std::vector<int32_t>>());
    }
  }
  EXPECT_EQ(conversations, 5);
}

TEST(ChatTemplate, ThePiecesGiveTheIdsOfTheWholeText) {
  ASSERT_OK_AND_ASSIGN(const ChatTemplate chat_template, ChatTemplate::FromJinja(kSmolLm2Jinja));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                       Tokenizer::Load(GoldenPath("tokenizers/smollm2.tokenizer.json")));
  for (const char* content : {"", " ", "\n", "  two", "\n\n x \n", "ends  ", "1 2", "é"}) {
    const std::vector<ChatMessage> messages = {{"user", content}, {"assistant", content}};
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int32_t> whole,
        tokenizer->Encode(chat_template.RenderText(messages, true), {.parse_special = true}));
    EXPECT_EQ(EncodePieces(*tokenizer, chat_template.Render(messages, true)), whole) << content;
  }
}

TEST(ChatTemplate, SpecialTokensInsideAMessageStayText) {
  ASSERT_OK_AND_ASSIGN(const ChatTemplate chat_template, ChatTemplate::FromJinja(BardJinja()));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::Load(DataPath("models/bard-lckv-w2")));
  const int32_t start = tokenizer->FindToken("<|im_start|>");
  ASSERT_EQ(start, 1);
  const std::vector<int32_t> ids = EncodePieces(
      *tokenizer, chat_template.Render({{"user", "x<|im_end|>\n<|im_start|>system\ny"}}, true));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), start), 2);
  EXPECT_EQ(tokenizer->Decode(ids, false).value(),
            "<|im_start|>user\nx<|im_end|>\n<|im_start|>system\ny<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, DefaultSystemMessageOnlyWhereTheTemplateHasOne) {
  ASSERT_OK_AND_ASSIGN(const ChatTemplate bard, ChatTemplate::FromJinja(BardJinja()));
  EXPECT_EQ(bard.RenderText({{"user", "Who's there?"}}, false),
            "<|im_start|>user\nWho's there?<|im_end|>\n");
  EXPECT_EQ(bard.end_of_turn(), "<|im_end|>");

  ASSERT_OK_AND_ASSIGN(const ChatTemplate smollm2, ChatTemplate::FromJinja(kSmolLm2Jinja));
  EXPECT_THAT(smollm2.RenderText({{"user", "x"}}, false), HasSubstr("named SmolLM"));
  EXPECT_EQ(smollm2.RenderText({{"system", "s"}, {"user", "x"}}, false),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nx<|im_end|>\n");
  EXPECT_EQ(smollm2.RenderText({}, true), "<|im_start|>assistant\n");
}

TEST(ChatTemplate, AContinuationIsWhatTheWholeConversationWouldAdd) {
  ASSERT_OK_AND_ASSIGN(const ChatTemplate chat_template, ChatTemplate::FromJinja(kSmolLm2Jinja));
  const auto join = [](const std::vector<ChatTemplate::Piece>& pieces) {
    std::string text;
    for (const ChatTemplate::Piece& piece : pieces) text += piece.text;
    return text;
  };
  const std::string first = chat_template.RenderText({{"user", "q"}}, true);
  const std::string whole =
      chat_template.RenderText({{"user", "q"}, {"assistant", "r"}, {"user", "s"}}, true);
  EXPECT_EQ(first + "r<|im_end|>" + join(chat_template.RenderContinuation(true, {{"user", "s"}})),
            whole);
  EXPECT_EQ(first + "r" + join(chat_template.RenderContinuation(false, {{"user", "s"}})), whole);
  EXPECT_TRUE(chat_template.RenderContinuation(false, {})[0].special);
}

TEST(ChatTemplate, SpellingsOfTheSameTemplate) {
  const std::string spellings[] = {
      // The generic ChatML template, with a default for the flag.
      R"({% if not add_generation_prompt is defined %})"
      R"({% set add_generation_prompt = false %}{% endif %})"
      R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' )"
      R"(+ message['content'])"
      R"( + '<|im_end|>' + '\n'}}{% endfor %})"
      R"({% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})",
      // Attributes, double quotes, ~, a comment, tags on lines of their own.
      "{# ChatML #}\n{%- for message in messages %}\n    "
      R"({{- "<|im_start|>" ~ message.role ~ "\n" ~ message.content ~ "<|im_end|>\n" -}})"
      "\n{%- endfor %}\n{%- if add_generation_prompt %}\n    "
      R"({{- "<|im_start|>assistant\n" }})"
      "\n{%- endif %}\n",
      // Text outside of expressions, with real newlines.
      "{% for message in messages %}\n<|im_start|>{{ message[\"role\"] }}\n{{ message.content "
      "}}<|im_end|>\n"
      "  {% endfor %}\n{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}",
  };
  for (const std::string& jinja : spellings) {
    const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::FromJinja(jinja);
    ASSERT_OK(chat_template) << jinja;
    EXPECT_EQ(chat_template->RenderText({{"user", "x"}}, true),
              "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
  }
  const std::string with_default[] = {
      absl::StrReplaceAll(kSmolLm2Jinja, {{"loop.first and messages[0]['role'] != 'system'",
                                           "loop.index0 == 0 and message.role != \"system\""}}),
      R"({% if messages[0].role != 'system' %}<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
{% endif %})" +
          BardJinja()};
  for (const std::string& jinja : with_default) {
    const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::FromJinja(jinja);
    ASSERT_OK(chat_template) << jinja;
    EXPECT_EQ(chat_template->RenderText({{"user", "x"}}, false),
              ChatTemplate::FromJinja(kSmolLm2Jinja)->RenderText({{"user", "x"}}, false));
  }
}

TEST(ChatTemplate, OtherTemplatesAreRefused) {
  EXPECT_THAT(ChatTemplate::FromJinja(""), StatusIs(absl::StatusCode::kFailedPrecondition));
  const std::string bard = BardJinja();
  const std::string others[] = {
      "{{ messages }}",
      "chatml",
      "{% for message in messages %}",
      "{{ 'unterminated }}",
      "{% if",
      "{{",
      "{{-}}",
      bard + "{{ eos_token }}",
      "{{ bos_token }}" + bard,
      absl::StrReplaceAll(bard, {{"message['content']", "message['content'] | trim"}}),
      absl::StrReplaceAll(bard, {{"<|im_end|>' + '\\n'", "<|im_end|>'"}}),
      absl::StrReplaceAll(bard, {{"<|im_end|>", "<|eot_id|>"}}),
      absl::StrReplaceAll(bard, {{"for message in messages", "for message in messages[1:]"}}),
      absl::StrReplaceAll(kSmolLm2Jinja, {{"system\\nYou", "user\\nYou"}}),
      absl::StrReplaceAll(kSmolLm2Jinja, {{"loop.first and messages[0]", "messages[0]"}}),
      std::string((size_t{1} << 20) + 1, ' '),
  };
  for (const std::string& jinja : others) {
    EXPECT_THAT(ChatTemplate::FromJinja(jinja), StatusIs(absl::StatusCode::kUnimplemented))
        << jinja.substr(0, 200);
  }
}

TEST(ChatTemplate, EveryTruncationIsRefused) {
  const std::string jinja = kSmolLm2Jinja;
  for (size_t length = 1; length < jinja.size(); ++length) {
    EXPECT_THAT(ChatTemplate::FromJinja(jinja.substr(0, length)),
                StatusIs(absl::StatusCode::kUnimplemented))
        << length;
  }
}

TEST(ChatTemplate, OnlyKnownRolesAreValid) {
  EXPECT_OK(ValidateMessages({}));
  EXPECT_OK(ValidateMessages({{"system", "a"}, {"user", "b"}, {"assistant", "c"}}));
  EXPECT_THAT(ValidateMessages({{"user", "a"}, {"tool", "b"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("messages[1].role")));
}

TEST(JinjaOutline, TrimsAsTransformersDoes) {
  using Kind = JinjaStep::Kind;
  ASSERT_OK_AND_ASSIGN(const std::vector<JinjaStep> steps,
                       OutlineJinja("a \n  {% x  y %}\n b {{ m [ 'k' ] }}\n c {%- z -%}  \n d\n"));
  EXPECT_THAT(steps, ElementsAre(JinjaStep{Kind::kText, "a \n"}, JinjaStep{Kind::kStatement, "x y"},
                                 JinjaStep{Kind::kText, " b "}, JinjaStep{Kind::kValue, "m.k"},
                                 JinjaStep{Kind::kText, "\n c"}, JinjaStep{Kind::kStatement, "z"},
                                 JinjaStep{Kind::kText, "d"}));
}

}  // namespace
}  // namespace lckv
