#include "services/gateway/validation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;

v1::GenerateRequest ValidGenerate() {
  v1::GenerateRequest request;
  request.set_session_id("Session-1.a_B");
  request.set_text("hello");
  return request;
}
v1::ChatRequest ValidChat() {
  v1::ChatRequest request;
  v1::Message* message = request.add_messages();
  message->set_role("user");
  message->set_content("hello");
  return request;
}

// `status` is INVALID_ARGUMENT about this field, in its message and in its details.
void ExpectInvalid(const absl::Status& status, const std::string& field) {
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument)) << field;
  EXPECT_TRUE(absl::StartsWith(status.message(), absl::StrCat(field, ": "))) << status;
  const auto info = GetErrorInfo(status);
  ASSERT_TRUE(info.has_value()) << field;
  EXPECT_EQ(info->reason, kReasonInvalidField);
  EXPECT_EQ(info->metadata.at("field"), field);
}

template <typename Request>
struct Case {
  std::string field;  // empty: valid
  std::function<void(Request&)> change;
};

template <typename Request>
void Check(const Request& valid, const std::vector<Case<Request>>& cases) {
  EXPECT_OK(Validate(valid));
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    Request request = valid;
    cases[i].change(request);
    if (cases[i].field.empty()) {
      EXPECT_OK(Validate(request));
    } else {
      ExpectInvalid(Validate(request), cases[i].field);
    }
  }
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ValidationTest, SessionIds) {
  for (const char* id : {"a", "0", "-", "A.b_c-9"}) EXPECT_OK(ValidateSessionId(id));
  EXPECT_OK(ValidateSessionId(std::string(128, 'x')));
  ExpectInvalid(ValidateSessionId(""), "session_id");
  ExpectInvalid(ValidateSessionId(std::string(129, 'x')), "session_id");
  for (int c = 0; c < 256; ++c) {
    const char byte = static_cast<char>(c);
    const bool legal = (c < 128 && std::isalnum(c)) || byte == '.' || byte == '_' || byte == '-';
    EXPECT_EQ(ValidateSessionId(std::string("a") + byte).ok(), legal) << c;
  }
}

TEST(ValidationTest, GenerateInput) {
  using R = v1::GenerateRequest;
  Check<R>(
      ValidGenerate(),
      {{"", [](R& r) { r.clear_session_id(); }},
       {"session_id", [](R& r) { r.set_session_id("a b"); }},
       {"input", [](R& r) { r.clear_text(); }},
       {"text", [](R& r) { r.set_text(""); }},
       {"", [](R& r) { r.set_text(""), r.set_add_special(true); }},
       {"", [](R& r) { r.set_text(std::string(kMaxTextBytes, 'x')); }},
       {"text", [](R& r) { r.set_text(std::string(kMaxTextBytes + 1, 'x')); }},
       {"tokens.ids", [](R& r) { r.mutable_tokens(); }},
       {"", [](R& r) { r.mutable_tokens()->add_ids(0); }},
       {"tokens.ids", [](R& r) { r.mutable_tokens()->add_ids(-1); }},
       {"", [](R& r) { r.mutable_tokens()->mutable_ids()->Resize(kMaxTokens, 7); }},
       {"tokens.ids", [](R& r) { r.mutable_tokens()->mutable_ids()->Resize(kMaxTokens + 1, 7); }},
       {"encode.passes", [](R& r) { r.mutable_encode()->set_passes(65); }},
       {"", [](R& r) { r.mutable_encode()->set_passes(64); }},
       {"encode.mode",
        [](R& r) { r.mutable_encode()->set_mode(static_cast<v1::EncodePolicy::Mode>(2)); }},
       {"durability", [](R& r) { r.set_durability(static_cast<v1::Durability>(9)); }}});
}

TEST(ValidationTest, Sampling) {
  using R = v1::GenerateRequest;
  using S = v1::SamplingParams;
  const auto with = [](std::function<void(S&)> set) {
    return [set](R& r) { set(*r.mutable_sampling()); };
  };
  const std::string t = "sampling.temperature", p = "sampling.top_p", m = "sampling.min_p";
  Check<R>(ValidGenerate(),
           {{"", with([](S& s) { s.set_temperature(0); })},
            {t, with([](S& s) { s.set_temperature(-0.1f); })},
            {t, with([](S& s) { s.set_temperature(kNan); })},
            {t, with([](S& s) { s.set_temperature(kInfinity); })},
            {"", with([](S& s) { s.set_top_p(1); })},
            {p, with([](S& s) { s.set_top_p(0); })},
            {p, with([](S& s) { s.set_top_p(1.01f); })},
            {p, with([](S& s) { s.set_top_p(kNan); })},
            {"", with([](S& s) { s.set_min_p(0); })},
            {m, with([](S& s) { s.set_min_p(1); })},
            {m, with([](S& s) { s.set_min_p(-0.1f); })},
            {m, with([](S& s) { s.set_min_p(kNan); })},
            {"", with([](S& s) { s.set_max_tokens(1); })},
            {"sampling.max_tokens", with([](S& s) { s.set_max_tokens(0); })},
            {"sampling.max_tokens", with([](S& s) { s.set_max_tokens(kMaxTokens + 1); })},
            {"", with([](S& s) { s.mutable_stop_tokens()->Resize(64, 1); })},
            {"sampling.stop_tokens", with([](S& s) { s.mutable_stop_tokens()->Resize(65, 1); })},
            {"sampling.stop_tokens", with([](S& s) { s.add_stop_tokens(-1); })},
            {"", with([](S& s) { s.set_top_k(0); })}});
}

TEST(ValidationTest, Chat) {
  using R = v1::ChatRequest;
  const auto add = [](R& r, const std::string& role, size_t bytes) {
    v1::Message* message = r.add_messages();
    message->set_role(role);
    message->set_content(std::string(bytes, 'x'));
  };
  Check<R>(ValidChat(),
           {{"", [&](R& r) { add(r, "system", 1), add(r, "assistant", 0); }},
            {"session_id", [](R& r) { r.set_session_id("/"); }},
            {"messages", [](R& r) { r.clear_messages(); }},
            {"messages[1].role", [&](R& r) { add(r, "tool", 1); }},
            {"messages[1].role", [&](R& r) { add(r, "", 1); }},
            {"messages", [&](R& r) { add(r, "user", kMaxTextBytes); }},
            {"messages",
             [&](R& r) {
               for (int i = 0; i < kMaxMessages; ++i) add(r, "user", 1);
             }},
            {"sampling.top_p", [](R& r) { r.mutable_sampling()->set_top_p(2); }},
            {"encode.passes", [](R& r) { r.mutable_encode()->set_passes(65); }},
            {"durability", [](R& r) { r.set_durability(static_cast<v1::Durability>(9)); }}});
}

TEST(ValidationTest, Sessions) {
  v1::OpenSessionRequest open;
  EXPECT_OK(Validate(open));
  open.set_session_id("a/b");
  ExpectInvalid(Validate(open), "session_id");
  open.clear_session_id();
  open.mutable_encode()->set_passes(65);
  ExpectInvalid(Validate(open), "encode.passes");
  ExpectInvalid(Validate(v1::GetSessionRequest()), "session_id");
  ExpectInvalid(Validate(v1::TouchSessionRequest()), "session_id");
  ExpectInvalid(Validate(v1::CloseSessionRequest()), "session_id");
  v1::ListSessionsRequest list;
  list.set_page_size(1000);
  EXPECT_OK(Validate(list));
  list.set_page_size(1001);
  ExpectInvalid(Validate(list), "page_size");
  list.set_page_size(0);
  list.set_page_token(std::string(1025, 'x'));
  ExpectInvalid(Validate(list), "page_token");
}

TEST(ValidationTest, Tokenizer) {
  v1::TokenizeRequest tokenize;
  EXPECT_OK(Validate(tokenize));
  tokenize.set_text(std::string(kMaxTextBytes + 1, 'x'));
  ExpectInvalid(Validate(tokenize), "text");
  v1::DetokenizeRequest detokenize;
  detokenize.add_ids(-1);
  ExpectInvalid(Validate(detokenize), "ids");
}

}  // namespace
}  // namespace lckv::gateway
