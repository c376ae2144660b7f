// At most one worker extends a session: two workers are asked directly, past the gateway.

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error_info.h"
#include "rpc/status_conversion.h"
#include "tests/integration/cluster.h"
#include "tests/integration/conversation.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

v1::WorkerGenerateRequest RequestOf(const Turn& turn, const std::string& turn_id) {
  v1::WorkerGenerateRequest request;
  request.set_tenant("default");
  request.set_session_id("s");
  request.set_turn_id(turn_id);
  v1::Message* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(turn.text);
  v1::SamplingParams* sampling = request.mutable_sampling();
  sampling->set_temperature(turn.temperature);
  sampling->set_seed(turn.seed);
  sampling->set_max_tokens(turn.max_tokens);
  sampling->set_ignore_eos(true);
  return request;
}

// One call of Worker.Generate.
class WorkerTurn {
 public:
  WorkerTurn(std::unique_ptr<v1::Worker::Stub> worker, const v1::WorkerGenerateRequest& request)
      : worker_(std::move(worker)) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    reader_ = worker_->Generate(&context_, request);
  }

  bool ReadTokens(size_t count) {
    while (tokens.size() < count) {
      if (!ReadFrame()) return false;
    }
    return true;
  }
  absl::Status Finish() {
    while (ReadFrame()) {
    }
    return FromGrpcStatus(reader_->Finish());
  }

  std::vector<int32_t> tokens;
  v1::TurnResult done;

 private:
  bool ReadFrame() {
    v1::GenerateResponse frame;
    if (!reader_->Read(&frame)) return false;
    tokens.insert(tokens.end(), frame.token_ids().begin(), frame.token_ids().end());
    if (frame.has_done()) done = frame.done();
    return true;
  }

  const std::unique_ptr<v1::Worker::Stub> worker_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

TEST(LeaseTest, AHeldSessionIsRefused) {
  const std::vector<Turn> turns = TestTurns(2);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ASSERT_OK(Say(cluster->gateway(), "s", turns[0]).status);
  const std::string holder = HolderOf(cluster->gateway(), "s");
  const std::string other = holder == "worker-1" ? "worker-2" : "worker-1";

  const absl::Status refused =
      WorkerTurn(cluster->worker(other), RequestOf(turns[1], "turn-2")).Finish();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(refused), kReasonLeaseHeld);
  ASSERT_TRUE(GetErrorInfo(refused).has_value());
  EXPECT_EQ(WorkerName(GetErrorInfo(refused)->metadata.at("holder")), holder);
  ExpectNothingLost(cluster->gateway(), "s", 1);
}

// The holder is stopped in the middle of a turn; another worker takes the session over and finishes
// the turn; then the first goes on and tries to commit what it believes to be its turn.
TEST(LeaseTest, AStaleEpochIsRefused) {
  std::vector<Turn> turns = TestTurns(3);
  turns[1].max_tokens = 400;
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  const std::string first = HolderOf(cluster->gateway(), "s");
  const std::string other = first == "worker-1" ? "worker-2" : "worker-1";

  v1::WorkerGenerateRequest request = RequestOf(turns[1], "turn-2");
  WorkerTurn stopped(cluster->worker(first), request);
  ASSERT_TRUE(stopped.ReadTokens(20));
  cluster->worker_process(first).Signal(SIGSTOP);

  request.set_takeover(true);
  request.mutable_resume_from()->Assign(stopped.tokens.begin(), stopped.tokens.end());
  WorkerTurn continued(cluster->worker(other), request);
  ASSERT_OK(continued.Finish());
  std::vector<int32_t> tokens(request.resume_from().begin(), request.resume_from().end());
  tokens.insert(tokens.end(), continued.tokens.begin(), continued.tokens.end());
  EXPECT_EQ(tokens, expected[1].tokens);
  EXPECT_EQ(continued.done.version(), 2u);

  cluster->worker_process(first).Signal(SIGCONT);
  const absl::Status refused = stopped.Finish();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(refused), kReasonStaleEpoch);
  EXPECT_GE(cluster->Metric(first, "lckv_worker_lease_conflicts_total"), 1);

  ExpectNothingLost(cluster->gateway(), "s", 2);
  ExpectSameReply(Say(cluster->gateway(), "s", turns[2]), expected[2]);
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

// The same turn again, as a gateway does that never saw the final frame: acknowledged, not
// repeated.
TEST(LeaseTest, ACommittedTurnIsNotRepeated) {
  const std::vector<Turn> turns = TestTurns(2);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  const std::string first = HolderOf(cluster->gateway(), "s");
  const std::string other = first == "worker-1" ? "worker-2" : "worker-1";

  v1::WorkerGenerateRequest request = RequestOf(turns[1], "turn-2");
  WorkerTurn attempt(cluster->worker(first), request);
  ASSERT_OK(attempt.Finish());
  EXPECT_EQ(attempt.tokens, expected[1].tokens);

  request.set_takeover(true);
  request.mutable_resume_from()->Assign(attempt.tokens.begin(), attempt.tokens.begin() + 10);
  WorkerTurn again(cluster->worker(other), request);
  ASSERT_OK(again.Finish());
  EXPECT_EQ(again.tokens, std::vector<int32_t>(attempt.tokens.begin() + 10, attempt.tokens.end()));
  EXPECT_EQ(again.done.version(), 2u);
  ExpectNothingLost(cluster->gateway(), "s", 2);
}

}  // namespace
}  // namespace lckv::testing
