#include "services/cache_node/cache_node.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "rpc/channel.h"
#include "rpc/status_conversion.h"
#include "services/common/tracing/tracer.h"
#include "tests/services/cache_node/cache_node_fixture.h"

namespace lckv {
namespace {

using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::StatusIs;
using ::lckv::testing::TempDir;
using ::testing::HasSubstr;

using CacheNodeTest = CacheNodeFixture;

TEST_F(CacheNodeTest, SessionsGoThereAndBack) {
  for (uint64_t page_bytes : {kTestPageBytes, uint64_t{5} << 19}) {
    StartNode();
    ASSERT_OK_AND_ASSIGN(const v1::CommitResponse committed, StoreSession(page_bytes));
    EXPECT_EQ(committed.kv_tokens(), 40u);
    ExpectPages(page_bytes);
  }
}

TEST_F(CacheNodeTest, SessionsSurviveARestart) {
  TempDir dir;
  options_.data = dir.path() + "/deep/down";
  StartNode();
  ASSERT_OK(StoreSession(kTestPageBytes));
  StartNode();
  ExpectPages(kTestPageBytes);
  EXPECT_EQ(node_->core().Stats().sessions, 1u);
}

TEST_F(CacheNodeTest, ErrorsKeepTheirDetails) {
  ASSERT_OK(client_->Acquire(AcquireRequest("w1"), Deadline()));
  const absl::Status held = client_->Acquire(AcquireRequest("w2"), Deadline()).status();
  EXPECT_EQ(held.code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(GetErrorInfo(held).has_value());
  EXPECT_EQ(GetErrorInfo(held)->reason, kReasonLeaseHeld);
  EXPECT_EQ(GetErrorInfo(held)->metadata.at("holder"), "w1");
  EXPECT_TRUE(GetRetryAfter(held).has_value());
}

TEST_F(CacheNodeTest, EveryCallReachesTheCore) {
  ASSERT_OK(StoreSession(kTestPageBytes));
  v1::StatRequest stat;
  stat.set_tenant("tenant");
  stat.set_session_id("s");
  ASSERT_OK_AND_ASSIGN(const v1::StatResponse seen, client_->Stat(stat, Deadline()));
  EXPECT_EQ(seen.transcript_tokens(), 40u);
  EXPECT_EQ(seen.lease_holder(), "w1");

  v1::RenewRequest renew;
  renew.set_tenant("tenant");
  renew.set_session_id("s");
  renew.set_worker_id("w1");
  renew.set_epoch(epoch_);
  EXPECT_OK(client_->Renew(renew, Deadline()));
  renew.set_epoch(epoch_ + 1);
  EXPECT_EQ(ErrorReason(client_->Renew(renew, Deadline())), kReasonStaleEpoch);

  v1::TouchRequest touch;
  touch.set_tenant("tenant");
  touch.set_session_id("s");
  touch.set_prefetch(true);
  EXPECT_OK(client_->Touch(touch, Deadline()));

  const auto stub = v1::Cache::NewStub(MakeChannel(node_->server().address()));
  v1::ListRequest list;
  list.set_tenant("tenant");
  v1::ListResponse listed;
  grpc::ClientContext context;
  EXPECT_OK(FromGrpcStatus(stub->List(&context, list, &listed)));
  EXPECT_EQ(listed.sessions_size(), 1);

  v1::ReleaseRequest release;
  release.set_tenant("tenant");
  release.set_session_id("s");
  release.set_worker_id("w1");
  release.set_epoch(epoch_);
  EXPECT_OK(client_->Release(release, Deadline()));
  EXPECT_EQ(client_->Stat(stat, Deadline())->lease_holder(), "");

  v1::DeleteRequest remove;
  remove.set_tenant("tenant");
  remove.set_session_id("s");
  EXPECT_OK(client_->Delete(remove, Deadline()));
  EXPECT_THAT(client_->Stat(stat, Deadline()), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CacheNodeTest, LargeManifestsPassAndLargerMessagesDoNot) {
  ASSERT_OK_AND_ASSIGN(const v1::AcquireResponse acquired,
                       client_->Acquire(AcquireRequest(), Deadline()));
  v1::CommitRequest commit;
  *commit.mutable_manifest() = testing::MakeManifest("s", 0, 0);
  commit.mutable_manifest()->set_epoch(acquired.epoch());
  commit.mutable_manifest()->set_version(1);
  commit.mutable_manifest()->mutable_tokens()->Resize(1 << 20, 2'000'000'000);
  v1::Segment* segment = commit.mutable_manifest()->add_segments();
  segment->set_tokens(1 << 20);
  segment->set_each_token(true);
  commit.mutable_manifest()->set_committed_tokens(1 << 20);
  ASSERT_OK(client_->Commit(commit, Deadline()));
  EXPECT_EQ(client_->Acquire(AcquireRequest(), Deadline())->manifest().tokens_size(), 1 << 20);

  commit.mutable_manifest()->set_numerics_class(std::string(17 << 20, 'x'));
  EXPECT_THAT(client_->Commit(commit, Deadline()), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(CacheNodeTest, AnUnreachableNodeHasItsReason) {
  node_.reset();
  const absl::Status status = client_->Acquire(AcquireRequest(), Deadline()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(status), kReasonCacheUnavailable);
  std::string page(10, 'x');
  const absl::Status write =
      client_->transport().Write(1, {{0, {0, 0, 0, 10}, page.data()}}, Deadline());
  EXPECT_EQ(ErrorReason(write), kReasonCacheUnavailable);
}

// What a node that stops says of a call it cannot finish: the commit may have happened.
TEST(GrpcCacheClientTest, ACallThatTheNodeEndsIsUnanswered) {
  class Node final : public v1::Cache::Service {
    grpc::Status Commit(grpc::ServerContext*, const v1::CommitRequest*,
                        v1::CommitResponse*) override {
      return grpc::Status::CANCELLED;
    }
    grpc::Status WritePages(grpc::ServerContext*, grpc::ServerReader<v1::WritePagesRequest>*,
                            v1::WritePagesResponse*) override {
      return grpc::Status::CANCELLED;
    }
  } node;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&node);
  const auto server = builder.BuildAndStart();
  const auto client = MakeGrpcCacheClient({absl::StrCat("127.0.0.1:", port)});
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  const absl::Status commit = client->Commit({}, deadline).status();
  EXPECT_THAT(commit, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(commit), kReasonCacheUnavailable);
  std::string page(10, 'x');
  const absl::Status write =
      client->transport().Write(1, {{0, {0, 0, 0, 10}, page.data()}}, deadline);
  EXPECT_THAT(write, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(write), kReasonCacheUnavailable);
}

TEST_F(CacheNodeTest, AClientFindsTheNodeAgain) {
  const std::string address = node_->server().address();
  TempDir dir;
  options_.data = dir.path();
  options_.listen = address;
  node_.reset();
  EXPECT_FALSE(client_->Acquire(AcquireRequest(), Deadline()).ok());
  ASSERT_OK_AND_ASSIGN(node_, CacheNode::Start(options_));
  absl::Status status = absl::UnavailableError("not tried");
  while (absl::IsUnavailable(status)) {
    status = client_->Acquire(AcquireRequest(), Deadline()).status();
  }
  EXPECT_OK(status);
}

TEST_F(CacheNodeTest, FullQueuesAreTypedErrors) {
  CacheMetrics metrics;
  Executor closed(1, 1);
  closed.Shutdown();
  const Tracer tracer({}, nullptr, &metrics.registry());
  CacheService service(&node_->core(), &metrics, &closed, &closed, &tracer, 1);
  ASSERT_OK_AND_ASSIGN(
      const auto server,
      ServerRunner::Start(ServerOptions(), {{v1::Cache::service_full_name(), &service}}));
  const auto client = MakeGrpcCacheClient({server->address()});
  const absl::Status status = client->Acquire(AcquireRequest(), Deadline()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), kReasonQueueFull);
  EXPECT_TRUE(GetRetryAfter(status).has_value());
}

TEST_F(CacheNodeTest, BadOptionsAreErrors) {
  const auto start = [](const auto& change) {
    CacheNodeOptions options;
    options.metrics_listen = "";
    options.arena_bytes = 1 << 20;
    change(options);
    return CacheNode::Start(options).status();
  };
  EXPECT_THAT(start([](auto& o) { o.arena_bytes = 100; }),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(start([](auto& o) { o.listen = "nowhere"; }),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(start([](auto& o) { o.data = "/proc/not/a/place"; }),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(start([this](auto& o) { o.listen = node_->server().address(); }),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(CacheNodeTest, MetricsTellTheStory) {
  ASSERT_OK(StoreSession(kTestPageBytes));
  ExpectPages(kTestPageBytes);
  EXPECT_FALSE(client_->Acquire(AcquireRequest("w3"), Deadline()).ok());
  const std::string text = node_->metrics().registry().Serialize();
  for (const char* line : {
           "lckv_cache_commits_total{outcome=\"ok\"} 1",
           "lckv_cache_calls_total{method=\"Acquire\",outcome=\"lease_held\"} 1",
           "lckv_cache_calls_total{method=\"Acquire\",outcome=\"ok\"} 2",
           "lckv_cache_page_lookups_total{tier=\"memory\"} 3",
           "lckv_cache_sync_seconds_count 1",
           "lckv_cache_lease_conflicts_total 1",
           "lckv_cache_transport_bytes_total{direction=\"in\"} 24576",
           "lckv_cache_transport_bytes_total{direction=\"out\"} 24576",
           "lckv_cache_checksum_failures_total{at=\"commit\"} 0",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

}  // namespace
}  // namespace lckv
