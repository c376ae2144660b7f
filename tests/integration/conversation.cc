#include "tests/integration/conversation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "rpc/status_conversion.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {

RunningTurn::RunningTurn(v1::Inference::Stub& gateway, const std::string& session,
                         const Turn& turn) {
  v1::ChatRequest request;
  request.set_session_id(session);
  request.set_create_session(true);
  request.set_discard_on_disconnect(turn.discard_on_disconnect);
  v1::Message* message = request.add_messages();
  message->set_role("user");
  message->set_content(turn.text);
  v1::SamplingParams* sampling = request.mutable_sampling();
  sampling->set_temperature(turn.temperature);
  sampling->set_seed(turn.seed);
  sampling->set_max_tokens(turn.max_tokens);
  sampling->set_ignore_eos(true);
  if (!turn.api_key.empty()) {
    context_.AddMetadata("authorization", absl::StrCat("Bearer ", turn.api_key));
  }
  context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  reader_ = gateway.Chat(&context_, request);
}

RunningTurn::~RunningTurn() {
  if (finished_) return;
  context_.TryCancel();
  Finish();
}

bool RunningTurn::ReadFrame() {
  v1::GenerateResponse frame;
  if (!reader_->Read(&frame)) return false;
  reply_.tokens.insert(reply_.tokens.end(), frame.token_ids().begin(), frame.token_ids().end());
  reply_.text += frame.text();
  if (frame.has_done()) reply_.done = frame.done();
  return true;
}

bool RunningTurn::ReadTokens(size_t count) {
  while (reply_.tokens.size() < count) {
    if (!ReadFrame()) return false;
  }
  return true;
}

Reply RunningTurn::Finish() {
  if (!finished_) {
    while (ReadFrame()) {
    }
    reply_.status = FromGrpcStatus(reader_->Finish());
    finished_ = true;
  }
  return reply_;
}

Reply Say(v1::Inference::Stub& gateway, const std::string& session, const Turn& turn) {
  return RunningTurn(gateway, session, turn).Finish();
}

Reply SayPatiently(v1::Inference::Stub& gateway, const std::string& session, const Turn& turn) {
  Reply reply;
  WaitUntil([&] {
    reply = Say(gateway, session, turn);
    return !absl::IsUnavailable(reply.status) && ErrorReason(reply.status) != kReasonSessionBusy;
  });
  return reply;
}

absl::StatusOr<v1::SessionInfo> GetSession(v1::Inference::Stub& gateway,
                                           const std::string& session) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::GetSessionRequest request;
  request.set_session_id(session);
  v1::SessionInfo info;
  LCKV_RETURN_IF_ERROR(FromGrpcStatus(gateway.GetSession(&context, request, &info)));
  return info;
}

std::string WorkerName(const std::string& id) { return id.substr(0, id.find('#')); }

std::string HolderOf(v1::Inference::Stub& gateway, const std::string& session) {
  const absl::StatusOr<v1::SessionInfo> info = GetSession(gateway, session);
  return info.ok() ? WorkerName(info->worker()) : "";
}

bool WaitUntilPushed(v1::Inference::Stub& gateway, const std::string& session) {
  // The last token of a turn has no KV yet: nothing has been evaluated after it.
  return WaitUntil([&] {
    const absl::StatusOr<v1::SessionInfo> info = GetSession(gateway, session);
    return info.ok() && info->version() > 0 && info->kv_tokens() + 1 >= info->transcript_tokens();
  });
}

std::vector<Turn> TestTurns(int count) {
  const char* texts[] = {
      "Who's there? Stand, and tell me your name, and whom you serve in this cold night.",
      "What news from the court? Speak plainly, for I have ridden long and would know all.",
      "And what said the king, when he had heard it? Did he weep, or laugh, or call for wine?",
      "Then we must away before the morning. Fetch the horses, and say farewell to the queen.",
      "Farewell.",
  };
  std::vector<Turn> turns;
  for (int i = 0; i < count; ++i) {
    turns.push_back({.text = texts[i % 5],
                     .temperature = i % 2 == 0 ? 0.0f : 0.8f,
                     .seed = static_cast<uint64_t>(100 + i)});
  }
  return turns;
}

std::vector<Reply> UndisturbedReplies(const std::vector<Turn>& turns) {
  std::vector<Reply> replies;
  const absl::StatusOr<std::unique_ptr<Cluster>> cluster = Cluster::Start({.workers = 1});
  if (!cluster.ok()) {
    ADD_FAILURE() << cluster.status();
    replies.resize(turns.size());
    return replies;
  }
  for (const Turn& turn : turns) {
    replies.push_back(Say((*cluster)->gateway(), "reference", turn));
    EXPECT_OK(replies.back().status);
    EXPECT_EQ(replies.back().tokens.size(), turn.max_tokens);
  }
  return replies;
}

void ExpectSameReply(const Reply& actual, const Reply& expected) {
  EXPECT_OK(actual.status);
  EXPECT_EQ(actual.tokens, expected.tokens);
  EXPECT_EQ(actual.text, expected.text);
  EXPECT_EQ(actual.done.version(), expected.done.version());
  EXPECT_EQ(actual.done.finish_reason(), expected.done.finish_reason());
  EXPECT_EQ(actual.done.usage().generated_tokens(), expected.done.usage().generated_tokens());
  EXPECT_EQ(actual.done.usage().input_tokens(), expected.done.usage().input_tokens());
}

void ExpectNothingLost(v1::Inference::Stub& gateway, const std::string& session,
                       uint64_t acknowledged_turns) {
  const absl::StatusOr<v1::SessionInfo> info = GetSession(gateway, session);
  ASSERT_OK(info);
  EXPECT_EQ(info->version(), acknowledged_turns);
}

}  // namespace lckv::testing
