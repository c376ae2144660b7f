// What the engine's interface promises, on the trained test model: limits, errors, endings, and
// that no page is ever lost.

#include "engine/runtime/engine.h"

#include <gtest/gtest.h>

#include <future>

#include "base/error_info.h"
#include "base/mutex.h"
#include "tests/engine/runtime/engine_harness.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

// Lets a test wait until the engine has done something.
class CountingObserver final : public EngineObserver {
 public:
  void OnStep(const StepStats& stats) override {
    MutexLock lock(mu_);
    ++steps_;
    decode_rows_ += stats.decode_rows;
    encode_rows_ += stats.encode_rows;
    largest_step_ = std::max(largest_step_, stats.encode_rows);
    changed_.NotifyAll();
  }
  void AwaitEncodeRows(int64_t rows) {
    MutexLock lock(mu_);
    while (encode_rows_ < rows) changed_.Wait(mu_);
  }
  int64_t decode_rows() const {
    MutexLock lock(mu_);
    return decode_rows_;
  }
  int64_t encode_rows() const {
    MutexLock lock(mu_);
    return encode_rows_;
  }
  int largest_step() const {
    MutexLock lock(mu_);
    return largest_step_;
  }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  int64_t steps_ ABSL_GUARDED_BY(mu_) = 0, decode_rows_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t encode_rows_ ABSL_GUARDED_BY(mu_) = 0;
  int largest_step_ ABSL_GUARDED_BY(mu_) = 0;
};

class EngineTest : public ::testing::Test {
 protected:
  void Make(const EngineOptions& options) {
    engine_ = MakeEngine(BardPath(), options, 2, &observer_);
  }
  std::vector<int32_t> Tokens(size_t count, uint32_t seed) const {
    return RandomTokens(count, engine_->config().vocab_size, seed);
  }
  int64_t PageBytes() const { return engine_->page_layout().page_bytes(); }

  CountingObserver observer_;
  std::unique_ptr<Engine> engine_;
};

constexpr int64_t kPageBytes = 12288;  // of the test model with 16 tokens a page

EngineOptions WithPages(int64_t pages) {
  EngineOptions options = SmallOptions();
  options.kv_memory_bytes = pages * kPageBytes;
  return options;
}

TEST_F(EngineTest, TellsWhatItRuns) {
  Make(SmallOptions());
  EXPECT_EQ(engine_->config().num_layers, 8);
  EXPECT_EQ(PageBytes(), kPageBytes);
  EXPECT_EQ(engine_->max_context(), 512);
  EXPECT_EQ(engine_->passes({}), 9);
  EXPECT_EQ(engine_->passes({false, 3}), 3);
  EXPECT_THAT(std::string(engine_->numerics_class()), ::testing::HasSubstr("/bf16/bf16"));
  EXPECT_THAT(engine_->description(), ::testing::HasSubstr("2 threads"));
  EXPECT_EQ(engine_->load().pages_capacity, (int64_t{16} << 20) / kPageBytes);
  EXPECT_EQ(engine_->load().pages_used, 0);
}

TEST_F(EngineTest, RefusesOptionsThatMakeNoSense) {
  ASSERT_OK_AND_ASSIGN(auto checkpoint, Checkpoint::Open(BardPath(), {}));
  const auto create = [&](auto&& change) {
    EngineOptions options = SmallOptions();
    change(options);
    auto backend = MakeCpuBackend({1, ""});
    return Engine::Create(*checkpoint, *std::move(backend), options, nullptr).status();
  };
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(create([](EngineOptions& o) { o.max_running_turns = 0; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.max_waiting_turns = 0; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.step_tokens = -1; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.encode_slots = 0; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.stream_capacity = 0; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.max_context = 2049; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.max_context = -1; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.tokens_per_page = 17; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.kv_memory_bytes = kPageBytes - 1; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.kv_memory_bytes = -1; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.kv_memory_share = 0; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.kv_memory_share = 1.01; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.kv_memory = KvMemory::kShare; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.page_bytes_per_second = -1; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.kv_dtype = DType::kQ8_0; }), invalid);
  EXPECT_THAT(create([](EngineOptions& o) { o.weight_format = "int3"; }), invalid);
}

TEST_F(EngineTest, ATurnCountsWhatItDid) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "s");
  const TurnResult first = RunTurn(*engine_, MakeTurn("s", Tokens(37, 1), 10));
  EXPECT_EQ(first.tokens.size(), 10u);
  EXPECT_EQ(first.outcome.finish_reason, FinishReason::kLength);
  EXPECT_EQ(first.outcome.input_tokens, 37);
  EXPECT_EQ(first.outcome.generated_tokens, 10);
  EXPECT_EQ(first.outcome.cached_tokens, 0);
  EXPECT_EQ(first.outcome.reencoded_tokens, 0);
  EXPECT_GT(first.outcome.encode_residual, 0);
  EXPECT_LT(first.outcome.encode_residual, 0.5f);
  EXPECT_GE(first.outcome.queue_seconds, 0);
  EXPECT_GT(first.outcome.encode_seconds, 0);
  EXPECT_GT(first.outcome.decode_seconds, 0);
  // The runs of the map are layer 0, the group up to layer 6 with nine passes, and layer 7.
  EXPECT_EQ(observer_.encode_rows(), 37 + 9 * 37 + 37);
  EXPECT_EQ(observer_.decode_rows(), 9);
  EXPECT_LE(observer_.largest_step(), 64);

  const TurnResult second = RunTurn(*engine_, MakeTurn("s", Tokens(5, 2), 3));
  EXPECT_EQ(second.outcome.cached_tokens, 46);  // the last token generated has no KV yet
  EXPECT_EQ(second.outcome.reencoded_tokens, 0);
  EXPECT_EQ(second.outcome.encode_residual, 0) << "n <= K passes are exact";
  OpenEmpty(*engine_, "residual");
  for (const auto& [input, exact] : {std::pair<size_t, bool>{9, true}, {10, false}}) {
    const TurnResult result = RunTurn(*engine_, MakeTurn("residual", Tokens(input, 3), 1));
    EXPECT_EQ(result.outcome.encode_residual == 0, exact) << input;
  }
  OpenEmpty(*engine_, "one pass", {false, 1});
  EXPECT_EQ(RunTurn(*engine_, MakeTurn("one pass", Tokens(20, 3), 1)).outcome.encode_residual, 1)
      << "nothing is known";
  EXPECT_OK(engine_->CloseSession("residual"));
  EXPECT_OK(engine_->CloseSession("one pass"));

  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("s"));
  EXPECT_EQ(transcript.tokens.size(), 55u);
  EXPECT_EQ(transcript.kv_tokens, 54);
  EXPECT_EQ(Describe(transcript.segments), "37 10*1 5 3*1 ");
  EXPECT_EQ(engine_->load().pages_used, 4);
  EXPECT_EQ(engine_->load().open_sessions, 1);
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, StopTokensEndTheTurnAndStay) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "free");
  OpenEmpty(*engine_, "stopped");
  const TurnResult free = RunTurn(*engine_, MakeTurn("free", Tokens(12, 1), 12, Seeded(3)));
  TurnRequest request = MakeTurn("stopped", Tokens(12, 1), 12, Seeded(3));
  request.stop_tokens = {-7, free.tokens[5], 1 << 30};
  const TurnResult stopped = RunTurn(*engine_, request);
  const auto first = std::find(free.tokens.begin(), free.tokens.end(), free.tokens[5]);
  EXPECT_EQ(stopped.tokens, std::vector<int32_t>(free.tokens.begin(), first + 1));
  EXPECT_EQ(stopped.outcome.finish_reason, FinishReason::kStop);
  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("stopped"));
  EXPECT_EQ(transcript.tokens.back(), free.tokens[5]);
  ExpectNothingLeft(*engine_, {"free", "stopped"});
}

TEST_F(EngineTest, TheContextEnds) {
  EngineOptions options = SmallOptions();
  options.max_context = 40;
  Make(options);
  OpenEmpty(*engine_, "s");
  const auto context_full = [&](size_t input) {
    const absl::Status status = engine_->Submit(MakeTurn("s", Tokens(input, 1), 5), MakeStream());
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kOutOfRange));
    return ErrorReason(status) == kReasonContextFull;
  };
  EXPECT_TRUE(context_full(41));
  EXPECT_TRUE(context_full(40)) << "no room for an answer";
  const TurnResult first = RunTurn(*engine_, MakeTurn("s", Tokens(30, 1), 5));
  EXPECT_EQ(first.outcome.finish_reason, FinishReason::kLength);
  EXPECT_TRUE(context_full(5));
  const TurnResult last = RunTurn(*engine_, MakeTurn("s", Tokens(2, 1), 1000));
  EXPECT_EQ(last.tokens.size(), 3u);
  EXPECT_EQ(last.outcome.finish_reason, FinishReason::kContext);
  EXPECT_TRUE(context_full(0));
  EXPECT_EQ(engine_->load().pages_used, 3);
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, RefusedTurnsLeaveNoTrace) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "s");
  const auto submit = [&](auto&& change) {
    TurnRequest request = MakeTurn("s", Tokens(3, 1), 4);
    change(request);
    auto stream = MakeStream();
    const absl::Status status = engine_->Submit(std::move(request), stream);
    EXPECT_FALSE(stream->TryPop().has_value());
    return status;
  };
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(submit([](TurnRequest& r) { r.session = "other"; }),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(submit([](TurnRequest& r) { r.input.clear(); }), invalid);
  EXPECT_THAT(submit([](TurnRequest& r) { r.max_tokens = 0; }), invalid);
  EXPECT_THAT(submit([](TurnRequest& r) { r.max_tokens = INT32_MIN; }), invalid);
  EXPECT_THAT(submit([](TurnRequest& r) { r.input[1] = -1; }), invalid);
  EXPECT_THAT(submit([](TurnRequest& r) { r.input[2] = 2048; }), invalid);
  EXPECT_THAT(submit([](TurnRequest& r) { r.resume_from = {5, 2048}; }), invalid);
  EXPECT_THAT(submit([](TurnRequest& r) { r.resume_from = {1, 2, 3, 4, 5}; }), invalid);
  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("s"));
  EXPECT_TRUE(transcript.tokens.empty());
  EXPECT_EQ(engine_->load().pages_used, 0);

  // The largest max_tokens there is asks for the context, not for more.
  const TurnResult result = RunTurn(*engine_, [&] {
    TurnRequest request = MakeTurn("s", Tokens(510, 1), INT32_MAX);
    return request;
  }());
  EXPECT_EQ(result.outcome.finish_reason, FinishReason::kContext);
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, RefusesTranscriptsThatDoNotFit) {
  Make(SmallOptions());
  const auto open = [&](SessionTranscript transcript, int64_t pages, EncodePolicy policy = {}) {
    std::unique_ptr<PageImport> import;
    if (pages > 0) {
      auto reserved = engine_->ReserveImport(pages);
      EXPECT_OK(reserved);
      import = *std::move(reserved);
      LandAnything(*engine_, *import, pages);
    }
    const absl::Status status =
        engine_->OpenSession("s", policy, std::move(transcript), std::move(import));
    EXPECT_EQ(engine_->load().pages_used, 0) << "the reserved pages came back";
    return status;
  };
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(open({{1, 2}, {}, 0}, 0), invalid);
  EXPECT_THAT(open({{1, 2}, {{3, false}}, 0}, 0), invalid);
  EXPECT_THAT(open({{1, 2}, {{3, true}, {-1, true}}, 0}, 0), invalid);
  EXPECT_THAT(open({{1, 2}, {{2, true}, {0, true}}, 0}, 0), invalid);
  EXPECT_THAT(open({{1, 2048}, {{2, false}}, 0}, 0), invalid);
  EXPECT_THAT(open({{-1, 2}, {{2, false}}, 0}, 0), invalid);
  EXPECT_THAT(open({{1, 2}, {{2, false}}, 1}, 0), invalid) << "KV without pages";
  EXPECT_THAT(open({{1, 2}, {{2, false}}, -1}, 1), invalid);
  EXPECT_THAT(open({{1, 2}, {{2, false}}, 3}, 1), invalid);
  EXPECT_THAT(open({Tokens(40, 1), {{40, false}}, 33}, 2), invalid);
  EXPECT_THAT(open({{1, 2}, {{2, false}}, 0}, 0, {false, -1}), invalid);
  EXPECT_THAT(open({{1, 2}, {{2, false}}, 0}, 0, {false, kMaxPasses + 1}), invalid);
  EXPECT_THAT(open({Tokens(513, 1), {{513, false}}, 0}, 0),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(open({Tokens(513, 1), {{INT32_MAX, true}, {INT32_MAX, true}}, 0}, 0),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(engine_->load().open_sessions, 0);
}

TEST_F(EngineTest, SessionsAreOpenOnce) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "s");
  ASSERT_OK_AND_ASSIGN(auto pages, engine_->ReserveImport(2));
  EXPECT_EQ(pages->size(), 2);
  LandAnything(*engine_, *pages, 2);
  EXPECT_THAT(engine_->OpenSession("s", {}, {Tokens(20, 1), {{20, true}}, 20}, std::move(pages)),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(engine_->load().pages_used, 0);
  EXPECT_OK(engine_->CloseSession("s"));
  const auto not_found = StatusIs(absl::StatusCode::kNotFound);
  EXPECT_THAT(engine_->CloseSession("s"), not_found);
  EXPECT_THAT(engine_->GetTranscript("s"), not_found);
  EXPECT_THAT(engine_->Export("s", 0, 9), not_found);
  EXPECT_THAT(engine_->Truncate("s", 0), not_found);
  engine_->Cancel("s");
  EXPECT_THAT(engine_->ReserveImport(0), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(engine_->ReserveImport(-1), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(EngineTest, AReservedImportThatIsNotUsedComesBack) {
  Make(WithPages(8));
  {
    ASSERT_OK_AND_ASSIGN(auto five, engine_->ReserveImport(5));
    EXPECT_EQ(engine_->load().pages_used, 5);
    const auto refused = engine_->ReserveImport(4);
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_EQ(ErrorReason(refused.status()), kReasonPoolFull);
    EXPECT_EQ(engine_->load().pages_used, 5);
  }
  EXPECT_EQ(engine_->load().pages_used, 0);
  // Of eight reserved pages three are there, and two are needed.
  ASSERT_OK_AND_ASSIGN(auto eight, engine_->ReserveImport(8));
  LandAnything(*engine_, *eight, 3);
  EXPECT_OK(engine_->OpenSession("s", {}, {Tokens(30, 1), {{30, true}}, 30}, std::move(eight)));
  EXPECT_EQ(engine_->load().pages_used, 2);
  // What was staged and did not land is not there.
  ASSERT_OK_AND_ASSIGN(auto two, engine_->ReserveImport(2));
  LandAnything(*engine_, *two, 1);
  ASSERT_OK(two->Stage(1, absl::InfiniteFuture()));
  EXPECT_THAT(engine_->OpenSession("t", {}, {Tokens(30, 1), {{30, true}}, 30}, std::move(two)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(engine_->load().pages_used, 2);
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, APageThatIsNotWhatWasSentDoesNotLand) {
  Make(WithPages(8));
  ASSERT_OK_AND_ASSIGN(auto import, engine_->ReserveImport(4));
  LandAnything(*engine_, *import, 1);
  ASSERT_OK_AND_ASSIGN(const auto staged, import->Stage(3, absl::InfiniteFuture()));
  ASSERT_EQ(staged.size(), 3u);
  const std::vector<uint8_t> page(kPageBytes, 7);
  for (void* buffer : staged) std::memcpy(buffer, page.data(), page.size());
  const uint32_t crc = Crc32c(page.data(), page.size());
  EXPECT_THAT(import->Landed({crc, crc + 1, crc}), StatusIs(absl::StatusCode::kDataLoss));
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const int64_t intact, import->Finish());
    EXPECT_EQ(intact, 2);
  }
  EXPECT_OK(engine_->OpenSession("s", {}, {Tokens(40, 1), {{40, true}}, 32}, std::move(import)));
  EXPECT_EQ(engine_->load().pages_used, 2);
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, PoolFullAndRecovery) {
  Make(WithPages(8));
  OpenEmpty(*engine_, "a");
  OpenEmpty(*engine_, "b");
  RunTurn(*engine_, MakeTurn("a", Tokens(70, 1), 10));  // five pages
  EXPECT_EQ(engine_->load().pages_used, 5);
  auto stream = MakeStream();
  const absl::Status full = engine_->Submit(MakeTurn("b", Tokens(40, 2), 10), stream);
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(full), kReasonPoolFull);
  EXPECT_FALSE(stream->TryPop().has_value());
  EXPECT_EQ(engine_->load().pages_used, 5);
  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("b"));
  EXPECT_TRUE(transcript.tokens.empty());
  EXPECT_OK(engine_->CloseSession("a"));
  const TurnResult result = RunTurn(*engine_, MakeTurn("b", Tokens(40, 2), 10));
  EXPECT_EQ(result.tokens.size(), 10u);
  ExpectNothingLeft(*engine_, {"b"});
}

TEST_F(EngineTest, PagesSetAsideForTokensThatDidNotComeAreFreed) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "s");
  auto stream = Start(*engine_, MakeTurn("s", Tokens(20, 1), 400), 1);
  EXPECT_EQ(engine_->load().pages_used, 27);
  ASSERT_TRUE(stream->PopWithTimeout(kPatience).has_value());
  engine_->Cancel("s");
  EXPECT_EQ(Await(*stream).outcome.finish_reason, FinishReason::kCancelled);
  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("s"));
  EXPECT_EQ(engine_->load().pages_used,
            engine_->page_layout().PagesFor(static_cast<int64_t>(transcript.tokens.size())));
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, QueueFullAndBusy) {
  EngineOptions options = SmallOptions();
  options.max_running_turns = 1;
  options.max_waiting_turns = 1;
  Make(options);
  for (const char* name : {"running", "waiting", "refused"}) OpenEmpty(*engine_, name);
  // Its consumer takes one token and no more: it runs until the test says otherwise.
  auto running = Start(*engine_, MakeTurn("running", Tokens(4, 1), 8), 1);
  ASSERT_TRUE(running->PopWithTimeout(kPatience).has_value());
  auto waiting = Start(*engine_, MakeTurn("waiting", Tokens(4, 2), 3));
  const absl::Status full = engine_->Submit(MakeTurn("refused", Tokens(4, 3), 3), MakeStream());
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(full), kReasonQueueFull);
  EXPECT_TRUE(GetRetryAfter(full).has_value());
  for (const char* name : {"running", "waiting"}) {
    const absl::Status busy = engine_->Submit(MakeTurn(name, Tokens(4, 3), 3), MakeStream());
    EXPECT_THAT(busy, StatusIs(absl::StatusCode::kAborted));
    EXPECT_EQ(ErrorReason(busy), kReasonSessionBusy);
    EXPECT_THAT(engine_->Truncate(name, 0), StatusIs(absl::StatusCode::kFailedPrecondition));
  }
  EXPECT_EQ(engine_->load().running_turns, 1);
  EXPECT_EQ(engine_->load().waiting_turns, 1);
  EXPECT_EQ(Await(*running).tokens.size(), 7u);
  EXPECT_EQ(Await(*waiting).tokens.size(), 3u);
  EXPECT_EQ(RunTurn(*engine_, MakeTurn("refused", Tokens(4, 3), 3)).tokens.size(), 3u);
  ExpectNothingLeft(*engine_, {"running", "waiting", "refused"});
}

TEST_F(EngineTest, TurnsStartInTheOrderInWhichTheyCame) {
  EngineOptions options = SmallOptions();
  options.max_running_turns = 1;
  Make(options);
  Mutex mu;
  std::vector<std::string> ended;
  std::vector<std::shared_ptr<TurnStream>> streams;
  for (const char* name : {"running", "second", "third", "fourth"}) {
    OpenEmpty(*engine_, name);
    auto events = std::make_shared<int>(0);
    streams.push_back(std::make_shared<TurnStream>(1024, [&mu, &ended, events, name] {
      if (++*events < 3) return;
      MutexLock lock(mu);
      ended.push_back(name);
    }));
    ASSERT_OK(engine_->Submit(MakeTurn(name, Tokens(200, 1), 2), streams.back()));
  }
  for (const auto& stream : streams) EXPECT_OK(Await(*stream).outcome.status);
  engine_.reset();  // its last signal may still be on its way
  MutexLock lock(mu);
  EXPECT_EQ(ended, (std::vector<std::string>{"running", "second", "third", "fourth"}));
}

// The slots of the segment encoder come back when the input is encoded, and when a turn is
// cancelled before that.
TEST_F(EngineTest, EncodeSlotsComeBack) {
  EngineOptions options = SmallOptions();
  options.encode_slots = 1;
  options.step_tokens = 16;
  Make(options);
  for (const char* name : {"decoding", "cancelled", "last"}) OpenEmpty(*engine_, name);
  auto decoding = Start(*engine_, MakeTurn("decoding", Tokens(20, 1), 8), 1);
  ASSERT_TRUE(decoding->PopWithTimeout(kPatience).has_value());
  auto cancelled = Start(*engine_, MakeTurn("cancelled", Tokens(150, 2), 8));
  observer_.AwaitEncodeRows(11 * 20 + 200);
  engine_->Cancel("cancelled");
  EXPECT_EQ(Await(*cancelled).outcome.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(RunTurn(*engine_, MakeTurn("last", Tokens(20, 3), 8)).tokens.size(), 8u);
  EXPECT_EQ(Await(*decoding).tokens.size(), 7u);
  ExpectNothingLeft(*engine_, {"decoding", "cancelled", "last"});
}

TEST_F(EngineTest, AWaitingTurnCanBeCancelled) {
  EngineOptions options = SmallOptions();
  options.max_running_turns = 1;
  Make(options);
  OpenEmpty(*engine_, "running");
  OpenEmpty(*engine_, "waiting");
  auto running = Start(*engine_, MakeTurn("running", Tokens(4, 1), 8), 1);
  auto waiting = Start(*engine_, MakeTurn("waiting", Tokens(30, 2), 8));
  engine_->Cancel("waiting");
  const TurnResult cancelled = Await(*waiting);
  EXPECT_OK(cancelled.outcome.status);
  EXPECT_EQ(cancelled.outcome.finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(cancelled.tokens.empty());
  EXPECT_EQ(cancelled.outcome.encode_seconds, 0);
  EXPECT_EQ(Await(*running).tokens.size(), 8u);
  // Its input is in the transcript: an empty input goes on from there.
  OpenEmpty(*engine_, "undisturbed");
  EXPECT_EQ(RunTurn(*engine_, MakeTurn("waiting", {}, 8)).tokens,
            RunTurn(*engine_, MakeTurn("undisturbed", Tokens(30, 2), 8)).tokens);
  EXPECT_TRUE(SameState(ExportAll(*engine_, "waiting"), ExportAll(*engine_, "undisturbed")));
  ExpectNothingLeft(*engine_, {"running", "waiting", "undisturbed"});
}

TEST_F(EngineTest, ATurnCancelledWhileEncodingGoesOnAsIfItHadNotBeen) {
  EngineOptions options = SmallOptions();
  options.step_tokens = 16;
  Make(options);
  OpenEmpty(*engine_, "cancelled");
  OpenEmpty(*engine_, "undisturbed");
  auto stream = Start(*engine_, MakeTurn("cancelled", Tokens(150, 1), 6));
  observer_.AwaitEncodeRows(200);  // of 1650: in the second pass
  engine_->Cancel("cancelled");
  const TurnResult cancelled = Await(*stream);
  EXPECT_EQ(cancelled.outcome.finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(cancelled.tokens.empty());
  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("cancelled"));
  EXPECT_EQ(transcript.tokens.size(), 150u);
  EXPECT_EQ(transcript.kv_tokens, 0);
  EXPECT_EQ(RunTurn(*engine_, MakeTurn("cancelled", {}, 6)).tokens,
            RunTurn(*engine_, MakeTurn("undisturbed", Tokens(150, 1), 6)).tokens);
  EXPECT_TRUE(SameState(ExportAll(*engine_, "cancelled"), ExportAll(*engine_, "undisturbed")));
  ExpectNothingLeft(*engine_, {"cancelled", "undisturbed"});
}

TEST_F(EngineTest, ATurnCancelledWhileDecodingKeepsWhatItGenerated) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "cancelled");
  OpenEmpty(*engine_, "undisturbed");
  const TurnResult whole = RunTurn(*engine_, MakeTurn("undisturbed", Tokens(20, 1), 30, Seeded(5)));
  auto stream = Start(*engine_, MakeTurn("cancelled", Tokens(20, 1), 30, Seeded(5)), 4);
  ASSERT_TRUE(stream->PopWithTimeout(kPatience).has_value());
  engine_->Cancel("cancelled");
  TurnResult cancelled = Await(*stream);
  EXPECT_EQ(cancelled.outcome.finish_reason, FinishReason::kCancelled);
  const auto generated = static_cast<size_t>(cancelled.outcome.generated_tokens);
  EXPECT_EQ(cancelled.tokens.size() + 1, generated);
  ASSERT_LT(generated, 30u);
  const TurnResult rest =
      RunTurn(*engine_, MakeTurn("cancelled", {}, static_cast<int32_t>(30 - generated), Seeded(5)));
  EXPECT_EQ(rest.tokens, std::vector<int32_t>(whole.tokens.begin() + static_cast<int>(generated),
                                              whole.tokens.end()));
  EXPECT_TRUE(SameState(ExportAll(*engine_, "cancelled"), ExportAll(*engine_, "undisturbed")));
  ExpectNothingLeft(*engine_, {"cancelled", "undisturbed"});
}

// A cancel that comes when its turn has just ended must not hit the session's next turn. Whether
// the loop sees both at once is up to the machine, hence the repetitions.
TEST_F(EngineTest, ALateCancelDoesNotHitTheNextTurn) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "s");
  for (int round = 0; round < 100; ++round) {
    int events = 0;
    std::promise<void> cancelled;
    auto first = std::make_shared<TurnStream>(8, [&] {
      if (++events < 2) return;
      engine_->Cancel("s");
      cancelled.set_value();
    });
    ASSERT_OK(engine_->Submit(MakeTurn("s", {7}, 1), first));
    cancelled.get_future().wait();
    auto next = MakeStream();
    ASSERT_OK(engine_->Submit(MakeTurn("s", {8}, 1), next));
    ASSERT_EQ(Await(*next).outcome.finish_reason, FinishReason::kLength) << "round " << round;
  }
  ExpectNothingLeft(*engine_, {"s"});
}

TEST_F(EngineTest, ASlowConsumerPausesItsOwnTurnOnly) {
  Make(SmallOptions());
  for (const char* name : {"slow", "fast", "alone"}) OpenEmpty(*engine_, name);
  const TurnResult alone = RunTurn(*engine_, MakeTurn("alone", Tokens(9, 1), 20, Seeded(1)));
  auto slow = Start(*engine_, MakeTurn("slow", Tokens(9, 1), 20, Seeded(1)), 2);
  auto fast = Start(*engine_, MakeTurn("fast", Tokens(9, 2), 40));
  EXPECT_EQ(Await(*fast).tokens.size(), 40u);
  ASSERT_OK_AND_ASSIGN(const SessionTranscript transcript, engine_->GetTranscript("slow"));
  EXPECT_EQ(transcript.tokens.size(), 9u + 2u) << "what its stream holds, and no more";
  EXPECT_EQ(engine_->load().running_turns, 1);
  const TurnResult caught_up = Await(*slow);
  EXPECT_EQ(caught_up.tokens, alone.tokens);
  EXPECT_TRUE(SameState(ExportAll(*engine_, "slow"), ExportAll(*engine_, "alone")));
  ExpectNothingLeft(*engine_, {"slow", "fast", "alone"});
}

TEST_F(EngineTest, ClosingASessionEndsItsTurn) {
  Make(SmallOptions());
  OpenEmpty(*engine_, "s");
  auto stream = Start(*engine_, MakeTurn("s", Tokens(20, 1), 400), 1);
  EXPECT_OK(engine_->CloseSession("s"));
  EXPECT_EQ(Await(*stream).outcome.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(engine_->load().pages_used, 0);
  EXPECT_EQ(engine_->load().running_turns, 0);
}

TEST_F(EngineTest, TheDestructorEndsRunningTurns) {
  EngineOptions options = SmallOptions();
  options.max_running_turns = 3;
  Make(options);
  std::vector<std::shared_ptr<TurnStream>> streams;
  for (int i = 0; i < 5; ++i) {
    const std::string name = absl::StrCat("s", i);
    OpenEmpty(*engine_, name, {i == 1, 0});
    streams.push_back(Start(*engine_, MakeTurn(name, Tokens(100, 1), 300), 2));
  }
  observer_.AwaitEncodeRows(50);
  engine_.reset();
  for (const auto& stream : streams) {
    const TurnResult result = Await(*stream);
    EXPECT_OK(result.outcome.status);
    EXPECT_EQ(result.outcome.finish_reason, FinishReason::kCancelled);
  }
}

}  // namespace
}  // namespace lckv
