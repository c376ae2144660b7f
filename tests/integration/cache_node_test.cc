// The cache node: what it keeps over evictions and its own death, and what is done about damage.

#include <signal.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error_info.h"
#include "cache/store/key_value.h"
#include "tests/integration/cluster.h"
#include "tests/integration/conversation.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

TEST(EvictionTest, IdleSessionsComeBackFromTheCacheNode) {
  const std::vector<Turn> turns = TestTurns(3);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(
      auto cluster,
      Cluster::Start({.workers = 1, .worker_flags = {"--idle-evict-seconds", "0.3"}}));
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  for (size_t i = 1; i < turns.size(); ++i) {
    ASSERT_TRUE(WaitUntil([&] {
      const absl::StatusOr<v1::SessionInfo> info = GetSession(cluster->gateway(), "s");
      return info.ok() && info->state() == v1::SessionInfo::COLD && info->worker().empty();
    }));
    const Reply reply = Say(cluster->gateway(), "s", turns[i]);
    ExpectSameReply(reply, expected[i]);
    EXPECT_EQ(reply.done.restore_source(), v1::CACHE_NODE);
    EXPECT_EQ(reply.done.usage().reencoded_tokens(), 0u);
    EXPECT_GT(reply.done.usage().restored_bytes(), 0u);
  }
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

TEST(CacheNodeTest, KilledAndRestartedBetweenTurns) {
  const std::vector<Turn> turns = TestTurns(3);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  // Acknowledged, so it is on disk already.
  cluster->Kill("cache-node");
  ASSERT_OK(cluster->Restart("cache-node"));
  ExpectSameReply(Say(cluster->gateway(), "s", turns[1]), expected[1]);
  // Both the cache node and the worker die: only the disk knows the session.
  cluster->Kill("cache-node");
  cluster->Kill("worker-1");
  cluster->Kill("worker-2");
  ASSERT_OK(cluster->Restart("cache-node"));
  ASSERT_TRUE(cluster->WaitForWorkers(0));
  ASSERT_OK(cluster->Restart("worker-1"));
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  const Reply third = Say(cluster->gateway(), "s", turns[2]);
  ExpectSameReply(third, expected[2]);
  EXPECT_NE(third.done.restore_source(), v1::HOT);
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

TEST(CacheNodeTest, KilledDuringATurn) {
  std::vector<Turn> turns = TestTurns(3);
  turns[1].max_tokens = 400;
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  RunningTurn turn(cluster->gateway(), "s", turns[1]);
  ASSERT_TRUE(turn.ReadTokens(20));
  cluster->Kill("cache-node");
  ASSERT_TRUE(turn.ReadTokens(40));  // the turn itself needs no cache node
  ASSERT_OK(cluster->Restart("cache-node"));
  // Back within the worker's patience: the turn is committed as if nothing had happened.
  ExpectSameReply(turn.Finish(), expected[1]);
  ExpectSameReply(Say(cluster->gateway(), "s", turns[2]), expected[2]);
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

TEST(CacheNodeTest, AwayTooLong) {
  const std::vector<Turn> turns = TestTurns(2);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  cluster->Kill("cache-node");
  // Never acknowledged: the client may ask again, and does.
  const Reply refused = Say(cluster->gateway(), "s", turns[1]);
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_OK(cluster->Restart("cache-node"));
  ExpectNothingLost(cluster->gateway(), "s", 1);
  ExpectSameReply(SayPatiently(cluster->gateway(), "s", turns[1]), expected[1]);
  ExpectNothingLost(cluster->gateway(), "s", 2);
}

// Flips one bit of the stored page with the smallest key. The cache node must not run.
void DamageAPage(const std::string& folder) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<KeyValue> store,
                       OpenRocksDbKeyValue(folder, RocksDbOptions()));
  std::string key, page;
  ASSERT_OK(store->Scan(Table::kPages, "", "", [&](absl::string_view k, absl::string_view v) {
    key = std::string(k);
    page = std::string(v);
    return false;
  }));
  ASSERT_FALSE(page.empty());
  page[page.size() / 3] = static_cast<char>(page[page.size() / 3] ^ 0x10);
  WriteBatch batch;
  batch.Put(Table::kPages, key, page);
  ASSERT_OK(store->Write(batch, /*sync=*/true));
}

TEST(CacheNodeTest, DamagedPageIsComputedAgain) {
  const std::vector<Turn> turns = TestTurns(4);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start({.workers = 1}));
  for (int i = 0; i < 3; ++i) {
    ExpectSameReply(Say(cluster->gateway(), "s", turns[i]), expected[i]);
  }
  ASSERT_TRUE(WaitUntilPushed(cluster->gateway(), "s"));
  EXPECT_EQ(cluster->Terminate("worker-1"), 0);
  EXPECT_EQ(cluster->Terminate("cache-node"), 0);
  ASSERT_NO_FATAL_FAILURE(DamageAPage(cluster->cache_folder()));
  ASSERT_OK(cluster->Restart("cache-node"));
  ASSERT_TRUE(cluster->WaitForWorkers(0));
  ASSERT_OK(cluster->Restart("worker-1"));
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  const Reply fourth = Say(cluster->gateway(), "s", turns[3]);
  ExpectSameReply(fourth, expected[3]);
  EXPECT_EQ(fourth.done.restore_source(), v1::RECOMPUTED);
  EXPECT_GT(fourth.done.usage().reencoded_tokens(), 0u);
  EXPECT_FALSE(fourth.done.kv_changed());
  EXPECT_GE(cluster->Metric("cache-node", "lckv_cache_checksum_failures_total"), 1);
  ExpectNothingLost(cluster->gateway(), "s", 4);
}

// A worker with another layer map does not use the session's KV: it evaluates the transcript again.
TEST(CacheNodeTest, AnotherModelComputesTheTranscriptAgain) {
  const std::vector<Turn> turns = TestTurns(2);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start({.workers = 1}));
  EXPECT_OK(Say(cluster->gateway(), "s", turns[0]).status);
  EXPECT_EQ(cluster->Terminate("worker-1"), 0);
  ASSERT_TRUE(cluster->WaitForWorkers(0));
  ASSERT_OK(cluster->Restart("worker-1", {"--layer-map", "0_7_7_7_7_7_7_7"}));
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  const Reply second = Say(cluster->gateway(), "s", turns[1]);
  EXPECT_OK(second.status);
  EXPECT_TRUE(second.done.kv_changed());
  EXPECT_EQ(second.done.restore_source(), v1::RECOMPUTED);
  EXPECT_EQ(second.done.usage().restored_bytes(), 0u);
  EXPECT_GE(cluster->Metric("worker-1", "lckv_worker_fingerprint_mismatches_total"), 1);
  ExpectNothingLost(cluster->gateway(), "s", 2);
}

// Unless the operator says that models do not take each other's sessions.
TEST(CacheNodeTest, AnotherModelRefusesTheSession) {
  const std::vector<Turn> turns = TestTurns(2);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start({.workers = 1}));
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  cluster->Kill("worker-1");
  ASSERT_TRUE(cluster->WaitForWorkers(0));
  ASSERT_OK(
      cluster->Restart("worker-1", {"--layer-map", "0_7_7_7_7_7_7_7", "--other-model", "refuse"}));
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  const Reply refused = Say(cluster->gateway(), "s", turns[1]);
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(ErrorReason(refused.status), kReasonFingerprint);
  EXPECT_GE(cluster->Metric("worker-1", "lckv_worker_fingerprint_mismatches_total"), 1);
  EXPECT_OK(Say(cluster->gateway(), "new", turns[1]).status);
  ExpectNothingLost(cluster->gateway(), "s", 1);

  EXPECT_EQ(cluster->Terminate("worker-1"), 0);
  ASSERT_TRUE(cluster->WaitForWorkers(0));
  ASSERT_OK(cluster->Restart("worker-1"));
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  ExpectSameReply(Say(cluster->gateway(), "s", turns[1]), expected[1]);
  ExpectNothingLost(cluster->gateway(), "s", 2);
}

}  // namespace
}  // namespace lckv::testing
