// A session knows no device: it goes from a CPU worker to a GPU worker and back. The GPU is the
// simulated one, so turns are short.

#include <memory>
#include <string>
#include <vector>

#include "base/error_info.h"
#include "tests/integration/cluster.h"
#include "tests/integration/conversation.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

std::vector<Turn> ShortTurns() {
  std::vector<Turn> turns;
  for (const char* text : {"Who art thou?", "Why?", "Then go."}) {
    Turn turn;
    turn.text = text;
    turn.max_tokens = 8;
    turns.push_back(turn);
  }
  return turns;
}

std::vector<std::string> Flags(const std::string& device, const std::string& numerics) {
  return {"--device", device, "--numerics", numerics};
}

TEST(DeviceTest, ASessionMovesToTheGpuAndBack) {
  const std::vector<Turn> turns = ShortTurns();
  ASSERT_OK_AND_ASSIGN(auto cluster,
                       Cluster::Start({.workers = 1, .worker_flags = Flags("cpu", "any")}));
  std::vector<Reply> expected;
  for (const Turn& turn : turns) expected.push_back(Say(cluster->gateway(), "twin", turn));
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  int turn = 1;
  for (const char* device : {"cuda-sim", "cpu"}) {
    ASSERT_EQ(cluster->Terminate("worker-1"), 0);
    ASSERT_OK(cluster->Restart("worker-1", Flags(device, "any")));
    ASSERT_TRUE(cluster->WaitForWorkers(1));
    const Reply reply = Say(cluster->gateway(), "s", turns[static_cast<size_t>(turn)]);
    ExpectSameReply(reply, expected[static_cast<size_t>(turn)]);
    EXPECT_EQ(reply.done.restore_source(), v1::CACHE_NODE) << device;
    EXPECT_TRUE(reply.done.numerics_changed()) << device;
    ++turn;
  }
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

TEST(DeviceTest, AWorkerThatKeepsToItsNumericsRefuses) {
  const std::vector<Turn> turns = ShortTurns();
  ASSERT_OK_AND_ASSIGN(auto cluster,
                       Cluster::Start({.workers = 1, .worker_flags = Flags("cpu", "same")}));
  ASSERT_OK(Say(cluster->gateway(), "s", turns[0]).status);
  ASSERT_EQ(cluster->Terminate("worker-1"), 0);
  ASSERT_OK(cluster->Restart("worker-1", Flags("cuda-sim", "same")));
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  const Reply reply = Say(cluster->gateway(), "s", turns[1]);
  EXPECT_THAT(reply.status, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(ErrorReason(reply.status), kReasonNumerics);
  ExpectNothingLost(cluster->gateway(), "s", 1);
}

}  // namespace
}  // namespace lckv::testing
