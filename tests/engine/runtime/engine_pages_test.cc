// Pages that come and go beside the steps, on a device whose copies take as long as the test says.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error_info.h"
#include "base/mutex.h"
#include "tests/engine/runtime/engine_harness.h"
#include "tests/testing/forwarding_backend.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness
using Direction = PageCopier::Direction;

// What happens to copies: they are made when somebody waits for them, and not before the test lets
// them. Thread-safe.
class Gate {
 public:
  struct Copy {
    void* to;
    const void* from;
    size_t size_bytes;
  };

  PageCopier::Ticket Queue(Direction direction, const Copy& copy) {
    MutexLock lock(mu_);
    Lane& lane = Of(direction);
    lane.queued.push_back(copy);
    return lane.done + lane.queued.size();
  }
  absl::Status Wait(Direction direction, PageCopier::Ticket ticket) {
    MutexLock lock(mu_);
    Lane& lane = Of(direction);
    ++waiting_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mu_);
    --waiting_;
    if (!error_.ok()) return error_;
    for (; lane.done < ticket; ++lane.done) {
      const Copy& copy = lane.queued.front();
      std::memcpy(copy.to, copy.from, copy.size_bytes);
      if (++copies_ == damaged_copy_) static_cast<uint8_t*>(copy.to)[copy.size_bytes / 2] ^= 4;
      lane.queued.pop_front();
    }
    return absl::OkStatus();
  }

  void Open(bool open) {
    MutexLock lock(mu_);
    open_ = open;
    changed_.NotifyAll();
  }
  // Until somebody waits for copies.
  void AwaitWaiting() {
    MutexLock lock(mu_);
    const absl::Time deadline = absl::Now() + kPatience;
    while (waiting_ == 0 && absl::Now() < deadline) {
      changed_.WaitWithTimeout(mu_, absl::Seconds(1));
    }
    EXPECT_GT(waiting_, 0);
  }
  // What all later waits return, if it is an error.
  void SetError(const absl::Status& error) {
    MutexLock lock(mu_);
    error_ = error;
  }
  // The n-th copy from now on arrives with another bit.
  void Damage(int n) {
    MutexLock lock(mu_);
    copies_ = 0;
    damaged_copy_ = n;
  }

 private:
  struct Lane {
    std::deque<Copy> queued;
    PageCopier::Ticket done = 0;
  };
  Lane& Of(Direction direction) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return direction == Direction::kIn ? in_ : out_;
  }

  Mutex mu_;
  CondVar changed_;
  Lane in_ ABSL_GUARDED_BY(mu_), out_ ABSL_GUARDED_BY(mu_);
  bool open_ ABSL_GUARDED_BY(mu_) = true;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
  int copies_ ABSL_GUARDED_BY(mu_) = 0;
  int damaged_copy_ ABSL_GUARDED_BY(mu_) = -1;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
};

class GatedCopier final : public PageCopier {
 public:
  explicit GatedCopier(Gate* gate) : gate_(gate) {}
  Mark MarkCompute() override { return ++marks_; }
  absl::StatusOr<Ticket> Copy(Direction direction, void* to, const void* from, size_t size_bytes,
                              Mark after) override {
    EXPECT_GT(after, 0u) << "a copy that waits for no computation";
    return gate_->Queue(direction, {to, from, size_bytes});
  }
  absl::Status Wait(Direction direction, Ticket ticket) override {
    return ticket == 0 ? absl::OkStatus() : gate_->Wait(direction, ticket);
  }

 private:
  Gate* const gate_;
  Mark marks_ = 0;  // the loop's thread
};

// The CPU as a device with memory of its own.
class GatedDevice final : public ForwardingBackend {
 public:
  GatedDevice(std::unique_ptr<Backend> cpu, Gate* gate, std::optional<int64_t> free_bytes)
      : ForwardingBackend(std::move(cpu)), gate_(gate), free_bytes_(free_bytes) {}
  bool memory_is_host() const override { return false; }
  absl::StatusOr<std::optional<int64_t>> FreeMemory() override { return free_bytes_; }
  absl::StatusOr<std::unique_ptr<PageCopier>> MakePageCopier(const PageCopierOptions&) override {
    return std::make_unique<GatedCopier>(gate_);
  }

 private:
  Gate* const gate_;
  const std::optional<int64_t> free_bytes_;
};

class EnginePagesTest : public ::testing::Test {
 protected:
  void Make(const EngineOptions& options, std::optional<int64_t> free_bytes = std::nullopt) {
    auto made = TryMake(options, free_bytes);
    ASSERT_OK(made);
    engine_ = *std::move(made);
  }
  absl::StatusOr<std::unique_ptr<Engine>> TryMake(const EngineOptions& options,
                                                  std::optional<int64_t> free_bytes) {
    auto checkpoint = Checkpoint::Open(GoldenModelPath("odd-map"), {});
    EXPECT_OK(checkpoint);
    auto cpu = MakeCpuBackend({2, ""});
    EXPECT_OK(cpu);
    return Engine::Create(**checkpoint,
                          std::make_unique<GatedDevice>(*std::move(cpu), &gate_, free_bytes),
                          options, nullptr);
  }
  // Two staging pages of each direction.
  static EngineOptions Narrow() {
    EngineOptions options = SmallOptions();
    options.page_staging_bytes = 0;
    return options;
  }
  std::vector<int32_t> Tokens(size_t count, uint32_t seed) const {
    return RandomTokens(count, engine_->config().vocab_size, seed);
  }
  // A session of `tokens` tokens of KV, all exact: no input is a long segment.
  SessionExport Grow(const std::string& session, int32_t tokens, uint32_t seed) {
    OpenEmpty(*engine_, session, {true, 0});
    RunTurn(*engine_, MakeTurn(session, Tokens(static_cast<size_t>(tokens), seed), 1));
    return ExportAll(*engine_, session);
  }
  int64_t pages_used() const { return engine_->load().pages_used; }

  Gate gate_;  // outlives the engine
  std::unique_ptr<Engine> engine_;
};

TEST_F(EnginePagesTest, MorePagesThanStagingComeAndGo) {
  Make(Narrow());
  const SessionExport state = Grow("s", 150, 1);
  ASSERT_EQ(state.pages.size(), 10u);
  const auto tokens = static_cast<int32_t>(state.transcript.tokens.size());
  ASSERT_OK(OpenFrom(*engine_, "copy", {true, 0}, state, tokens, 150));
  EXPECT_TRUE(SameState(ExportAll(*engine_, "copy"), state));
  EXPECT_EQ(RunTurn(*engine_, MakeTurn("copy", {}, 20)).tokens,
            RunTurn(*engine_, MakeTurn("s", {}, 20)).tokens);
  EXPECT_TRUE(SameState(ExportAll(*engine_, "copy"), ExportAll(*engine_, "s")));
  ExpectNothingLeft(*engine_, {"s", "copy"});
}

TEST_F(EnginePagesTest, AnExportHasABound) {
  Make(Narrow());
  const SessionExport state = Grow("s", 150, 1);
  for (const int32_t most : {1, 3, 10, 11, INT32_MAX}) {
    for (int32_t first = 0; first < 12; ++first) {
      ASSERT_OK_AND_ASSIGN(const SessionExport part, engine_->Export("s", first, most));
      ASSERT_EQ(static_cast<int32_t>(part.pages.size()), std::clamp(10 - first, 0, most));
      EXPECT_EQ(part.transcript.kv_tokens, 150);
      for (size_t i = 0; i < part.pages.size(); ++i) {
        EXPECT_EQ(part.pages[i], state.pages[static_cast<size_t>(first) + i]);
      }
    }
  }
  EXPECT_THAT(engine_->Export("s", 0, 0), StatusIs(absl::StatusCode::kInvalidArgument));
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EnginePagesTest, StepsGoOnWhileAnExportIsUnderWay) {
  Make(Narrow());
  const SessionExport before = Grow("s", 70, 1);
  gate_.Open(false);
  auto exported = std::async(std::launch::async, [&] { return ExportAll(*engine_, "s"); });
  gate_.AwaitWaiting();
  // The session itself goes on, and others do.
  RunTurn(*engine_, MakeTurn("s", Tokens(5, 2), 20));
  OpenEmpty(*engine_, "other");
  RunTurn(*engine_, MakeTurn("other", Tokens(30, 3), 5));
  gate_.Open(true);
  EXPECT_TRUE(SameState(exported.get(), before));
  ExpectNothingLeft(*engine_, {"s", "other"});
}

TEST_F(EnginePagesTest, PagesOfAnExportAreNotUsedAnewMeanwhile) {
  EngineOptions options = Narrow();
  Make(options);
  const SessionExport before = Grow("s", 70, 1);
  gate_.Open(false);
  auto exported = std::async(std::launch::async, [&] { return ExportAll(*engine_, "s"); });
  gate_.AwaitWaiting();
  EXPECT_OK(engine_->CloseSession("s"));
  EXPECT_EQ(pages_used(), 5);
  // Another session of this name that would have got the same pages.
  OpenEmpty(*engine_, "s", {true, 0});
  RunTurn(*engine_, MakeTurn("s", Tokens(70, 9), 1));
  EXPECT_OK(engine_->Truncate("s", 3));
  gate_.Open(true);
  EXPECT_TRUE(SameState(exported.get(), before));
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EnginePagesTest, WhatIsForgottenDuringAnExportIsLeftOut) {
  Make(Narrow());
  const SessionExport before = Grow("s", 70, 1);
  gate_.Open(false);
  auto exported = std::async(std::launch::async, [&] { return ExportAll(*engine_, "s"); });
  gate_.AwaitWaiting();
  EXPECT_OK(engine_->Truncate("s", 37));
  RunTurn(*engine_, MakeTurn("s", Tokens(30, 9), 1));  // in the same pages
  gate_.Open(true);
  const SessionExport after = exported.get();
  EXPECT_EQ(after.transcript.tokens, before.transcript.tokens);
  EXPECT_EQ(after.transcript.kv_tokens, 37);
  ASSERT_EQ(after.pages.size(), 3u);
  EXPECT_EQ(after.pages[0], before.pages[0]);
  EXPECT_EQ(after.pages[1], before.pages[1]);
  std::vector<uint8_t> tail = before.pages[2];
  engine_->page_layout().ZeroBeyond(5, tail.data());
  EXPECT_EQ(after.pages[2], tail);
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EnginePagesTest, StepsGoOnWhilePagesLand) {
  Make(SmallOptions());
  const SessionExport state = Grow("s", 70, 1);
  gate_.Open(false);
  auto opened = std::async(std::launch::async, [&] {
    return OpenFrom(*engine_, "copy", {true, 0}, state,
                    static_cast<int32_t>(state.transcript.tokens.size()), 70);
  });
  gate_.AwaitWaiting();
  RunTurn(*engine_, MakeTurn("s", Tokens(5, 2), 20));
  EXPECT_THAT(engine_->GetTranscript("copy"), StatusIs(absl::StatusCode::kNotFound));
  gate_.Open(true);
  EXPECT_OK(opened.get());
  EXPECT_TRUE(SameState(ExportAll(*engine_, "copy"), state));
  ExpectNothingLeft(*engine_, {"s", "copy"});
}

TEST_F(EnginePagesTest, PagesOfARestoreThatIsGivenUpComeBackWhenNothingIsOnItsWayThere) {
  Make(SmallOptions());
  gate_.Open(false);
  ASSERT_OK_AND_ASSIGN(auto import, engine_->ReserveImport(4));
  LandAnything(*engine_, *import, 2);
  auto gone = std::async(std::launch::async, [&] { import.reset(); });
  gate_.AwaitWaiting();
  EXPECT_EQ(pages_used(), 4);
  gate_.Open(true);
  gone.get();
  EXPECT_EQ(pages_used(), 0);
}

TEST_F(EnginePagesTest, APageDamagedOnTheWayIsDroppedWithThoseAfterIt) {
  EngineOptions options = SmallOptions();
  options.kv_memory_bytes = int64_t{64} << 20;
  Make(options);
  const SessionExport state = Grow("s", 70, 1);
  for (const int damaged : {1, 3, 5}) {
    gate_.Damage(damaged);
    ASSERT_OK_AND_ASSIGN(auto import, engine_->ReserveImport(5));
    for (const std::vector<uint8_t>& page : state.pages) EXPECT_OK(LandPage(*import, page));
    ASSERT_OK_AND_ASSIGN(const int64_t intact, import->Finish());
    EXPECT_EQ(intact, damaged - 1);
    SessionTranscript transcript = state.transcript;
    transcript.kv_tokens = static_cast<int32_t>(intact) * 16;
    EXPECT_OK(engine_->OpenSession("copy", {true, 0}, transcript,
                                   intact > 0 ? std::move(import) : nullptr));
    import.reset();
    RunTurn(*engine_, MakeTurn("copy", {}, 1));
    SessionExport copy = ExportAll(*engine_, "copy");
    EXPECT_EQ(copy.pages[0], state.pages[0]);
    EXPECT_EQ(copy.pages[3], state.pages[3]);
    EXPECT_OK(engine_->CloseSession("copy"));
    // A caller that does not ask is told.
    gate_.Damage(damaged);
    const absl::Status refused = OpenFrom(*engine_, "copy", {true, 0}, state,
                                          static_cast<int32_t>(state.transcript.tokens.size()), 70);
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kDataLoss));
    EXPECT_EQ(pages_used(), 5);
  }
  ExpectNothingLeft(*engine_, {"s"});
}

// Over more pages than are checked at once.
TEST_F(EnginePagesTest, ADamagedPageFarOutIsFound) {
  Make(SmallOptions());
  for (const int damaged : {64, 65, 150}) {
    gate_.Damage(damaged);
    ASSERT_OK_AND_ASSIGN(auto import, engine_->ReserveImport(150));
    LandAnything(*engine_, *import, 150);
    ASSERT_OK_AND_ASSIGN(const int64_t intact, import->Finish());
    EXPECT_EQ(intact, damaged - 1);
  }
  EXPECT_EQ(pages_used(), 0);
}

TEST_F(EnginePagesTest, AStageThatGetsNoPageGivesUp) {
  Make(Narrow());
  ASSERT_OK_AND_ASSIGN(auto first, engine_->ReserveImport(3));
  ASSERT_OK_AND_ASSIGN(auto second, engine_->ReserveImport(3));
  const absl::Time soon = absl::Now() + absl::Milliseconds(50);
  ASSERT_OK_AND_ASSIGN(const auto one, first->Stage(3, soon));
  EXPECT_EQ(one.size(), 1u) << "a quarter of the staging, one page at least";
  ASSERT_OK_AND_ASSIGN(const auto again, first->Stage(3, soon));
  EXPECT_EQ(again[0], one[0]);
  ASSERT_OK(second->Stage(3, soon));
  ASSERT_OK_AND_ASSIGN(auto third, engine_->ReserveImport(1));
  EXPECT_THAT(third->Stage(1, absl::Now() + absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  // One that waits gets what another gives back.
  auto waited = std::async(std::launch::async,
                           [&] { return third->Stage(1, absl::Now() + kPatience).status(); });
  absl::SleepFor(absl::Milliseconds(20));  // most likely it waits by now
  second.reset();
  EXPECT_OK(waited.get());
  first.reset();
  third.reset();
  EXPECT_EQ(pages_used(), 0);
}

TEST_F(EnginePagesTest, ALostDeviceEndsEverything) {
  for (const bool in : {true, false}) {
    Make(SmallOptions());
    const SessionExport state = Grow("s", 70, 1);
    gate_.SetError(absl::InternalError("the device fell off the bus"));
    const auto lost = StatusIs(absl::StatusCode::kInternal);
    if (in) {
      EXPECT_THAT(OpenFrom(*engine_, "copy", {true, 0}, state, 71, 70), lost);
    } else {
      EXPECT_THAT(engine_->Export("s", 0, 9), lost);
    }
    EXPECT_THAT(engine_->Submit(MakeTurn("s", {1}, 1), MakeStream()), lost);
    ExpectNothingLeft(*engine_, {"s"});
    engine_.reset();
    gate_.SetError(absl::OkStatus());
  }
}

TEST_F(EnginePagesTest, ThePoolIsAShareOfWhatIsFree) {
  EngineOptions options = SmallOptions();
  options.kv_memory = KvMemory::kAuto;
  Make(options, int64_t{10} << 20);
  EXPECT_EQ(engine_->load().pages_capacity,
            int64_t{9} * (1 << 20) / engine_->page_layout().page_bytes());
  const auto exhausted = StatusIs(absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(TryMake(options, 100000), exhausted) << "less than one context";
  EXPECT_THAT(TryMake(SmallOptions(), 100000), exhausted) << "less than was asked for";
}

// Sessions that come and go while turns run, on several threads: for TSan, and for the pool.
TEST_F(EnginePagesTest, ManyAtOnce) {
  Make(Narrow());
  const SessionExport state = Grow("s", 70, 1);
  std::atomic<bool> stop = false;
  std::vector<std::future<void>> movers;
  for (int mover = 0; mover < 3; ++mover) {
    movers.push_back(std::async(std::launch::async, [&, mover] {
      const std::string name = absl::StrCat("copy ", mover);
      for (int round = 0; round < 20; ++round) {
        EXPECT_OK(OpenFrom(*engine_, name, {true, 0}, state, 71, 70));
        EXPECT_TRUE(SameState(ExportAll(*engine_, name), state));
        EXPECT_OK(engine_->CloseSession(name));
      }
    }));
  }
  auto turns = std::async(std::launch::async, [&] {
    while (!stop) {
      OpenEmpty(*engine_, "turns");
      RunTurn(*engine_, MakeTurn("turns", Tokens(20, 3), 10));
      EXPECT_OK(engine_->CloseSession("turns"));
    }
  });
  for (auto& mover : movers) mover.get();
  stop = true;
  turns.get();
  ExpectNothingLeft(*engine_, {"s"});
}

}  // namespace
}  // namespace lckv
