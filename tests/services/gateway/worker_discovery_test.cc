#include "services/gateway/worker_discovery.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/metrics.h"
#include "tests/services/gateway/gateway_fixture.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using testing::StatusIs;

// Says what the test sets.
class FakeResolver final : public HostResolver {
 public:
  absl::StatusOr<std::vector<std::string>> Resolve(const ListenAddress& name) override {
    MutexLock lock(mu_);
    ++calls_;
    asked_ = absl::StrCat(name.host, ":", name.port);
    return answer_;
  }
  void Set(const std::vector<std::string>& addresses) {
    MutexLock lock(mu_);
    answer_ = addresses;
    calls_ = 0;
  }
  void Fail(const absl::Status& status) {
    MutexLock lock(mu_);
    answer_ = status;
    calls_ = 0;
  }
  // True once the answer in force was asked for `count` times.
  bool WasAsked(int count) {
    return Eventually([this, count] {
      MutexLock lock(mu_);
      return calls_ >= count;
    });
  }
  std::string asked() {
    MutexLock lock(mu_);
    return asked_;
  }

 private:
  Mutex mu_;
  absl::StatusOr<std::vector<std::string>> answer_ ABSL_GUARDED_BY(mu_) =
      std::vector<std::string>();
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  std::string asked_ ABSL_GUARDED_BY(mu_);
};

class WorkerDiscoveryTest : public GatewayFixture {
 protected:
  WorkerDiscoveryTest() {
    options_.discovery.service = "workers.lckv:8081";
    options_.discovery.interval = absl::Milliseconds(20);
    options_.discovery.resolver = &resolver_;
  }
  // Before the resolver, which it asks until its end.
  void TearDown() override { gateway_.reset(); }

  // A worker that no flag names.
  FakeWorker& AddUnnamed(const std::string& id) {
    workers_.push_back(std::make_unique<FakeWorker>(id));
    return *workers_.back();
  }
  bool Becomes(const std::string& worker, WorkerState state) {
    return Eventually([&] { return StateOf(worker) == state; });
  }
  bool IsKnown(const std::string& worker) {
    return gateway_->directory().table().IndexOf(worker).has_value();
  }

  FakeResolver resolver_;
};

TEST_F(WorkerDiscoveryTest, TurnsRunOnWorkersThatAreFound) {
  FakeWorker& a = AddUnnamed("a");
  resolver_.Set({a.address()});
  StartGateway();
  EXPECT_EQ(resolver_.asked(), "workers.lckv:8081");
  EXPECT_EQ(Generate(Request("s", 5)).tokens, Tokens(5));

  FakeWorker& b = AddUnnamed("b");
  resolver_.Set({a.address(), b.address()});
  ASSERT_TRUE(Becomes("b", WorkerState::kReady));
  a.SetState(v1::LoadReport::DRAINING);
  ASSERT_TRUE(Becomes("a", WorkerState::kDraining));
  EXPECT_EQ(Generate(Request("s", 5)).tokens, Tokens(5));
  EXPECT_EQ(b.requests().size(), 1u);
}

TEST_F(WorkerDiscoveryTest, AWorkerStaysWhileItIsNamedOrConnected) {
  FakeWorker& a = AddUnnamed("a");
  FakeWorker& b = AddUnnamed("b");
  resolver_.Set({a.address(), b.address()});
  StartGateway();
  // Not named any more, as a draining worker is: it has turns to finish.
  resolver_.Set({a.address()});
  ASSERT_TRUE(resolver_.WasAsked(3));
  EXPECT_EQ(StateOf("b"), WorkerState::kReady);
  b.Kill();
  EXPECT_TRUE(Eventually([this] { return !IsKnown("b"); }));
  EXPECT_EQ(gateway_->directory().StubOf("b"), nullptr);
  // Named and dead: its process starts again at the same address.
  a.Kill();
  ASSERT_TRUE(Becomes("a", WorkerState::kDead));
  resolver_.Set({a.address()});
  ASSERT_TRUE(resolver_.WasAsked(3));
  EXPECT_TRUE(IsKnown("a"));
  a.Restart();
  EXPECT_TRUE(Becomes("a", WorkerState::kReady));
}

TEST_F(WorkerDiscoveryTest, AFailedLookUpChangesNothing) {
  FakeWorker& a = AddUnnamed("a");
  resolver_.Set({a.address()});
  StartGateway();
  EXPECT_EQ(gateway_->metrics().worker_lookup_failures.Value(), 0);
  a.Kill();
  ASSERT_TRUE(Becomes("a", WorkerState::kDead));
  resolver_.Fail(absl::UnavailableError("no DNS"));
  ASSERT_TRUE(resolver_.WasAsked(3));
  EXPECT_TRUE(IsKnown("a"));
  EXPECT_GE(gateway_->metrics().worker_lookup_failures.Value(), 2);
  a.Restart();
  EXPECT_TRUE(Becomes("a", WorkerState::kReady));
}

TEST_F(WorkerDiscoveryTest, WorkersNamedByFlagsStay) {
  FakeWorker& a = AddWorker("a");
  FakeWorker& b = AddUnnamed("b");
  // The one that a flag names is not counted twice.
  resolver_.Set({a.address(), b.address()});
  StartGateway();
  EXPECT_EQ(gateway_->directory().table().PlacementOf("default", "").workers.size(), 2u);
  a.Kill();
  ASSERT_TRUE(Becomes("a", WorkerState::kDead));
  resolver_.Set({b.address()});
  ASSERT_TRUE(resolver_.WasAsked(3));
  EXPECT_TRUE(IsKnown("a"));
}

// The turn's stream ends as it would have; the next turn goes elsewhere.
TEST_F(WorkerDiscoveryTest, ARunningTurnOutlivesTheRemovalOfItsWorker) {
  FakeWorker& a = AddUnnamed("a");
  FakeWorker& b = AddUnnamed("b");
  resolver_.Set({a.address()});
  StartGateway();
  std::atomic<bool> began{false};
  a.SetScript([&](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                  FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    FakeWorker::WriteTokens(request, writer, 0, 2);
    resolver_.Set({b.address()});
    began = true;
    FakeWorker::WaitUntilCancelled(context);
    return grpc::Status::CANCELLED;
  });
  std::thread killer([&] {
    Eventually([&] { return began.load() && StateOf("b") == WorkerState::kReady; });
    a.Kill();
  });
  const Turn turn = Generate(Request("s", 6));
  killer.join();
  EXPECT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(6));
  EXPECT_TRUE(Eventually([this] { return !IsKnown("a"); }));
}

// Readers on several threads while workers come and go.
TEST_F(WorkerDiscoveryTest, LookUpsAndTurnsDoNotDisturbEachOther) {
  FakeWorker& a = AddUnnamed("a");
  FakeWorker& b = AddUnnamed("b");
  options_.discovery.interval = absl::Milliseconds(1);
  resolver_.Set({a.address()});
  StartGateway();
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([this, &stop] {
      WorkerDirectory& directory = gateway_->directory();
      while (!stop) {
        for (const WorkerView& view : directory.table().PlacementOf("default", "s").workers) {
          directory.StubOf(view.id);
          directory.table().StateOf(view.id);
        }
        EXPECT_NE(directory.StubOf("a"), nullptr);
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    resolver_.Set({a.address(), b.address(), "127.0.0.1:1"});
    EXPECT_TRUE(Becomes("b", WorkerState::kReady));
    EXPECT_EQ(Generate(Request(absl::StrCat("s", i), 3)).tokens, Tokens(3));
    resolver_.Set({a.address()});
    b.Kill();
    EXPECT_TRUE(Eventually([this] { return !IsKnown("b"); }));
    b.Restart();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_F(WorkerDiscoveryTest, StopsWhileWorkersAreAdded) {
  for (int i = 0; i < 20; ++i) {
    std::vector<std::string> addresses;
    for (int port = 1; port < 20; ++port) addresses.push_back(absl::StrCat("127.0.0.1:", port));
    resolver_.Set(addresses);
    WorkerDirectory directory(options_.workers);
    GatewayMetrics metrics;
    ASSERT_OK(
        WorkerDiscovery::Start(options_.discovery, &directory, &metrics.worker_lookup_failures));
  }
}

TEST(HostResolverTest, AsksTheSystem) {
  HostResolver* resolver = HostResolver::System();
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> local,
                       resolver->Resolve({"localhost", 8081}));
  EXPECT_THAT(local, Contains(AnyOf("127.0.0.1:8081", "[::1]:8081")));
  EXPECT_THAT(local, Each(EndsWith(":8081")));
  EXPECT_THAT(resolver->Resolve({"10.1.2.3", 1}).value(), ElementsAre("10.1.2.3:1"));
  EXPECT_THAT(resolver->Resolve({"[fd00::7]", 1}).value(), ElementsAre("[fd00::7]:1"));
  EXPECT_FALSE(resolver->Resolve({"no-such-host.invalid", 1}).ok());
}

}  // namespace
}  // namespace lckv::gateway
