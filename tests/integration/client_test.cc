// What clients do to the system: leave, come in crowds, and lose their gateway.

#include <signal.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error_info.h"
#include "tests/integration/cluster.h"
#include "tests/integration/conversation.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

// What was generated until the client left is part of the conversation.
TEST(ClientGoneTest, TurnIsCommittedAsFarAsItCame) {
  std::vector<Turn> turns = TestTurns(2);
  turns[0].max_tokens = 500;
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start({.workers = 1}));
  {
    RunningTurn turn(cluster->gateway(), "s", turns[0]);
    ASSERT_TRUE(turn.ReadTokens(20));
    turn.Cancel();
    EXPECT_THAT(turn.Finish().status, StatusIs(absl::StatusCode::kCancelled));
  }
  ASSERT_TRUE(WaitUntil([&] {
    const absl::StatusOr<v1::SessionInfo> info = GetSession(cluster->gateway(), "s");
    return info.ok() && info->version() == 1;
  }));
  ASSERT_OK_AND_ASSIGN(const v1::SessionInfo info, GetSession(cluster->gateway(), "s"));
  const Reply second = Say(cluster->gateway(), "s", turns[1]);
  ASSERT_OK(second.status);

  // The same conversation with a first turn of just that length.
  std::vector<Turn> same = TestTurns(2);
  same[0].max_tokens = 1;
  const Reply probe = Say(cluster->gateway(), "probe", same[0]);
  ASSERT_OK(probe.status);
  same[0].max_tokens = info.transcript_tokens() - probe.done.usage().input_tokens();
  EXPECT_GE(same[0].max_tokens, 20u);
  EXPECT_LT(same[0].max_tokens, 500u);
  const std::vector<Reply> expected = UndisturbedReplies(same);
  ExpectSameReply(second, expected[1]);
}

TEST(ClientGoneTest, TurnIsForgottenWhenAskedFor) {
  std::vector<Turn> turns = TestTurns(2);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start({.workers = 1}));
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  {
    Turn turn = turns[1];
    turn.max_tokens = 500;
    turn.discard_on_disconnect = true;
    RunningTurn running(cluster->gateway(), "s", turn);
    ASSERT_TRUE(running.ReadTokens(20));
    running.Cancel();
    running.Finish();
  }
  ExpectNothingLost(cluster->gateway(), "s", 1);
  ExpectSameReply(SayPatiently(cluster->gateway(), "s", turns[1]), expected[1]);
  ExpectNothingLost(cluster->gateway(), "s", 2);
}

TEST(QueueFullTest, TheTurnTooManyIsRefusedAndTheOthersAreNot) {
  std::vector<Turn> turns = TestTurns(2);
  // Long enough to be seen running on an idle machine.
#if defined(__SANITIZE_ADDRESS__)
  turns[0].max_tokens = 200;
#else
  turns[0].max_tokens = 1600;
#endif
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(
      auto cluster,
      Cluster::Start({.workers = 1, .worker_flags = {"--max-running", "1", "--max-waiting", "1"}}));
  {
    RunningTurn running(cluster->gateway(), "running", turns[0]);
    ASSERT_TRUE(running.ReadTokens(1));
    // One of them waits, the other one is too many; which, nobody can know.
    RunningTurn second(cluster->gateway(), "second", turns[0]);
    RunningTurn third(cluster->gateway(), "third", turns[0]);
    Reply waited = second.Finish();
    Reply refused = third.Finish();
    if (!waited.status.ok()) std::swap(waited, refused);
    EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_EQ(ErrorReason(refused.status), kReasonQueueFull);
    EXPECT_TRUE(GetRetryAfter(refused.status).has_value());
    ExpectSameReply(waited, expected[0]);
    ExpectSameReply(running.Finish(), expected[0]);
  }
  // There is room again.
  ExpectSameReply(Say(cluster->gateway(), "another", turns[0]), expected[0]);
  ExpectSameReply(Say(cluster->gateway(), "running", turns[1]), expected[1]);
}

TEST(QueueFullTest, TheGatewaysOwnBound) {
  std::vector<Turn> turns = TestTurns(1);
  turns[0].max_tokens = 400;
  ASSERT_OK_AND_ASSIGN(
      auto cluster,
      Cluster::Start({.workers = 1, .gateway_flags = {"--max-concurrent-turns", "1"}}));
  RunningTurn running(cluster->gateway(), "running", turns[0]);
  ASSERT_TRUE(running.ReadTokens(1));
  const Reply refused = Say(cluster->gateway(), "refused", turns[0]);
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(GetRetryAfter(refused.status).has_value());
  EXPECT_OK(running.Finish().status);
}

TEST(GatewayTest, KilledAndReplacedBetweenTurns) {
  const std::vector<Turn> turns = TestTurns(2);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  const std::vector<std::string> sessions = {"a", "b", "c"};
  std::vector<std::string> workers;
  for (const std::string& session : sessions) {
    const Reply reply = Say(cluster->gateway(), session, turns[0]);
    ExpectSameReply(reply, expected[0]);
    workers.push_back(WorkerName(reply.done.worker()));
  }
  cluster->Kill("gateway");
  ASSERT_OK(cluster->Restart("gateway"));
  ASSERT_TRUE(cluster->WaitForWorkers(2));
  // Where each session is hot, the new gateway has learnt from the workers.
  for (size_t i = 0; i < sessions.size(); ++i) {
    const Reply reply = Say(cluster->gateway(), sessions[i], turns[1]);
    ExpectSameReply(reply, expected[1]);
    EXPECT_EQ(WorkerName(reply.done.worker()), workers[i]);
    EXPECT_EQ(reply.done.restore_source(), v1::HOT);
    ExpectNothingLost(cluster->gateway(), sessions[i], 2);
  }
}

TEST(GatewayTest, KilledDuringATurn) {
  std::vector<Turn> turns = TestTurns(3);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  {
    Turn turn = turns[1];
    turn.max_tokens = 400;
    turn.discard_on_disconnect = true;
    RunningTurn running(cluster->gateway(), "s", turn);
    ASSERT_TRUE(running.ReadTokens(20));
    cluster->Kill("gateway");
    EXPECT_THAT(running.Finish().status, StatusIs(absl::StatusCode::kUnavailable));
  }
  ASSERT_OK(cluster->Restart("gateway"));
  ASSERT_TRUE(cluster->WaitForWorkers(2));
  // The client never got the turn's last frame, and asks again.
  ExpectNothingLost(cluster->gateway(), "s", 1);
  ExpectSameReply(SayPatiently(cluster->gateway(), "s", turns[1]), expected[1]);
  ExpectSameReply(Say(cluster->gateway(), "s", turns[2]), expected[2]);
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

}  // namespace
}  // namespace lckv::testing
