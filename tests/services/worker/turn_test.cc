// Turns against a fake engine and a cache node in memory: where the KV comes from.

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "tests/services/worker/worker_fixture.h"

namespace lckv::worker {
namespace {

using ::testing::HasSubstr;

class TurnTest : public WorkerFixture {
 protected:
  // A session of one committed turn, cold, all of it at the cache node. Returns the reply.
  std::vector<int32_t> StoreOneTurn() {
    TestWorker worker("w0", &cache_);
    RecordingSink sink;
    EXPECT_OK(worker.Run(Request("t1"), sink));
    EXPECT_OK(worker.Offload());
    return sink.tokens;
  }
};

TEST_F(TurnTest, ANewSessionIsStreamedAndCommitted) {
  TestWorker worker("w1", &cache_);
  v1::WorkerGenerateRequest request = Request("t1");
  RecordingSink sink;
  sink.on_write = [&](const v1::GenerateResponse& frame) {
    // Rule 6: the last frame follows the commit.
    EXPECT_EQ(Stored().version(), frame.has_done() ? 1u : 0u);
  };
  ASSERT_OK(worker.Run(request, sink));
  SessionTranscript transcript;
  transcript.tokens.assign(request.tokens().ids().begin(), request.tokens().ids().end());
  transcript.segments = {{20, false}};
  EXPECT_THAT(sink.tokens, ElementsAreArray(FakeEngine::Continuation(transcript, 5, 40)));
  EXPECT_EQ(sink.frames.front().session_id(), kSession);
  EXPECT_EQ(sink.frames.front().seed(), 5u);
  ASSERT_TRUE(sink.finished());
  const v1::TurnResult& done = sink.done();
  EXPECT_EQ(done.finish_reason(), v1::LENGTH);
  EXPECT_EQ(done.version(), 1u);
  EXPECT_EQ(done.restore_source(), v1::NEW);
  EXPECT_EQ(done.usage().input_tokens(), 20u);
  EXPECT_EQ(done.usage().generated_tokens(), 40u);
  EXPECT_EQ(done.usage().reencoded_tokens(), 0u);
  EXPECT_EQ(done.worker(), "w1");
  EXPECT_EQ(done.kv_bytes_per_token(), 32u);
  EXPECT_FALSE(done.numerics_changed());
  EXPECT_GT(done.timings().time_to_first_token_seconds(), 0);
  EXPECT_GE(done.timings().total_seconds(), done.timings().time_to_first_token_seconds());

  const v1::Manifest stored = Stored();
  EXPECT_EQ(stored.tokens_size(), 60);
  EXPECT_EQ(stored.committed_tokens(), 60u);
  EXPECT_EQ(stored.last_turn_id(), "t1");
  EXPECT_EQ(stored.last_turn_input_tokens(), 20u);
  EXPECT_EQ(stored.last_turn_seed(), 5u);
  EXPECT_EQ(stored.passes(), 9u);
  EXPECT_EQ(Holder(), "w1");
}

TEST_F(TurnTest, PagesFollowInTheBackground) {
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t1"), sink));
  worker.FlushPushes();
  const v1::Manifest stored = Stored();
  // The last token has no KV yet.
  EXPECT_EQ(stored.kv_tokens(), 59u);
  EXPECT_EQ(stored.pages_size(), 4);
  EXPECT_EQ(stored.pages(0).content_id().size(), 32u);
  EXPECT_TRUE(stored.pages(3).content_id().empty());
}

TEST_F(TurnTest, OnlyTheDeltaIsPushed) {
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t1", 60, 1), first));
  worker.WaitForPushes();
  const int before = cache_.pages_written();
  ASSERT_OK(worker.core.push.Push(*worker.core.store.Hot().front()));
  EXPECT_EQ(cache_.pages_written(), before);
  // 61 tokens, 60 with KV: pages 0 to 2 are full and stay. The turn ends at 63 with KV for 62.
  ASSERT_OK(worker.Run(Request("t2", 1, 1), second));
  worker.FlushPushes();
  EXPECT_EQ(Stored().kv_tokens(), 62u);
  EXPECT_LE(cache_.pages_written(), before + 2);
}

TEST_F(TurnTest, TheNextTurnIsHot) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t1"), first));
  ASSERT_OK(worker.Run(Request("t2"), second));
  EXPECT_EQ(second.tokens, expected[1]);
  EXPECT_EQ(second.done().restore_source(), v1::HOT);
  EXPECT_EQ(second.done().version(), 2u);
  EXPECT_EQ(second.done().usage().cached_tokens(), 59u);
  EXPECT_EQ(cache_.calls(FakeCacheClient::kAcquire), 1);
}

TEST_F(TurnTest, AnotherWorkerRestores) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  StoreOneTurn();
  EXPECT_EQ(Holder(), "");
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().restore_source(), v1::CACHE_NODE);
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 0u);
  EXPECT_EQ(sink.done().usage().cached_tokens(), 59u);
  EXPECT_EQ(sink.done().usage().restored_bytes(), 4u * 4096u);
  EXPECT_GT(sink.done().timings().restore_seconds(), 0);
  EXPECT_EQ(worker.engine.bad_imports(), 0);
  EXPECT_EQ(worker.engine.computed_tokens(), 1 + 20 + 39);
  EXPECT_TRUE(absl::StrContains(
      worker.registry.Serialize(),
      "lckv_worker_restore_seconds_count{outcome=\"complete\",source=\"cache_node\"} 1\n"));
}

TEST_F(TurnTest, ALongSessionIsRestoredInSeveralReads) {
  TestWorker::Options options;
  options.engine.max_context = 2048;
  const v1::WorkerGenerateRequest request = Request("t1", 1100, 1);
  {
    TestWorker worker("w0", &cache_, options);
    RecordingSink sink;
    ASSERT_OK(worker.Run(request, sink));
    ASSERT_OK(worker.Offload());
  }
  TestWorker worker("w1", &cache_, options);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2", 1, 1), sink));
  EXPECT_EQ(sink.done().usage().restored_bytes(), 69u * 4096u);
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 0u);
  EXPECT_EQ(worker.engine.bad_imports(), 0);
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRead), 2);
}

// Rule 1: whatever is wrong with the pages, the reply is the same.
struct RestoreCase {
  std::string name;
  std::function<void(FakeCacheClient&)> harm;
  uint32_t restored_pages;
  friend std::ostream& operator<<(std::ostream& out, const RestoreCase& restore) {
    return out << restore.name;
  }
};
class RestoreFailureTest : public TurnTest, public ::testing::WithParamInterface<RestoreCase> {};

TEST_P(RestoreFailureTest, IsComputedAgain) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  StoreOneTurn();
  GetParam().harm(cache_);
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().restore_source(), v1::RECOMPUTED);
  EXPECT_EQ(sink.done().usage().restored_bytes(), GetParam().restored_pages * 4096u);
  // The first segment has 20 tokens: half of it is no use.
  const uint32_t usable = GetParam().restored_pages < 2 ? 0 : GetParam().restored_pages * 16u;
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 59u - usable);
  EXPECT_EQ(worker.engine.bad_imports(), 0);
  // What was lost is stored again.
  cache_.Heal();
  worker.FlushPushes();
  EXPECT_EQ(Stored().kv_tokens(), 119u);
}

INSTANTIATE_TEST_SUITE_P(
    Causes, RestoreFailureTest,
    ::testing::Values(
        RestoreCase{"corrupt_first", [](FakeCacheClient& cache) { cache.CorruptPage(0); }, 0},
        RestoreCase{"corrupt_third", [](FakeCacheClient& cache) { cache.CorruptPage(2); }, 2},
        RestoreCase{"lost", [](FakeCacheClient& cache) { cache.LosePagesFrom(1); }, 1},
        RestoreCase{"transport",
                    [](FakeCacheClient& cache) {
                      cache.Fail(FakeCacheClient::kRead, absl::UnavailableError("down"));
                    },
                    0},
        RestoreCase{"timeout",
                    [](FakeCacheClient& cache) {
                      cache.Fail(FakeCacheClient::kRead, absl::DeadlineExceededError("late"));
                    },
                    0}),
    [](const auto& info) { return info.param.name; });

TEST_F(TurnTest, ChecksumFailuresAreCounted) {
  StoreOneTurn();
  cache_.CorruptPage(2);
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2"), sink));
  const std::string metrics = worker.registry.Serialize();
  EXPECT_TRUE(absl::StrContains(metrics, "lckv_worker_checksum_failures_total 1\n"));
  EXPECT_TRUE(absl::StrContains(metrics, "reencoded_tokens_total{reason=\"corrupt\"} 27\n"));
}

TEST_F(TurnTest, AWorkerThatDiedIsReplaced) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker dead("w1", &cache_);
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1000);
  RecordingSink first;
  ASSERT_OK(dead.Run(Request("t1"), first));
  dead.FlushPushes();
  cache_.Heal();
  ASSERT_EQ(Stored().kv_tokens(), 0u);

  TestWorker worker("w2", &cache_);
  RecordingSink refused, sink;
  const absl::Status held = worker.Run(Request("t2"), refused);
  EXPECT_EQ(ErrorReason(held), kReasonLeaseHeld);
  EXPECT_EQ(GetErrorInfo(held)->metadata.at("holder"), "w1");
  v1::WorkerGenerateRequest request = Request("t2");
  request.set_takeover(true);
  ASSERT_OK(worker.Run(request, sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().restore_source(), v1::RECOMPUTED);
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 59u);
}

TEST_F(TurnTest, AnotherModelComputesTheTranscriptAgain) {
  StoreOneTurn();
  TestWorker::Options options;
  options.engine.fingerprint = 0x22;
  TestWorker worker("w1", &cache_, options);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_TRUE(sink.done().kv_changed());
  EXPECT_EQ(sink.done().restore_source(), v1::RECOMPUTED);
  EXPECT_EQ(sink.done().usage().restored_bytes(), 0u);
  EXPECT_GT(sink.done().usage().reencoded_tokens(), 0u);
  EXPECT_EQ(sink.done().version(), 2u);
  EXPECT_TRUE(absl::StrContains(worker.registry.Serialize(), "fingerprint_mismatches_total 1\n"));
}

TEST_F(TurnTest, AnotherModelIsRefusedWhereThatIsThePolicy) {
  StoreOneTurn();
  TestWorker::Options options;
  options.engine.fingerprint = 0x22;
  options.fingerprint = FingerprintPolicy::kRefuse;
  TestWorker worker("w1", &cache_, options);
  RecordingSink sink;
  const absl::Status status = worker.Run(Request("t2"), sink);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(ErrorReason(status), kReasonFingerprint);
  EXPECT_EQ(Holder(), "");
  EXPECT_FALSE(worker.Hot());
  EXPECT_TRUE(absl::StrContains(worker.registry.Serialize(), "fingerprint_mismatches_total 1\n"));
}

TEST_F(TurnTest, AnotherNumericsClassIsRefusedOrNamed) {
  StoreOneTurn();
  TestWorker::Options options;
  options.engine.numerics_class = "fake-r2";
  {
    TestWorker worker("w1", &cache_, options);
    RecordingSink sink;
    const absl::Status status = worker.Run(Request("t2"), sink);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_EQ(ErrorReason(status), kReasonNumerics);
    EXPECT_EQ(Holder(), "");
  }
  options.numerics = NumericsPolicy::kAny;
  TestWorker worker("w2", &cache_, options);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t2"), first));
  EXPECT_TRUE(first.done().numerics_changed());
  EXPECT_EQ(first.done().restore_source(), v1::CACHE_NODE);
  ASSERT_OK(worker.Run(Request("t3"), second));
  EXPECT_FALSE(second.done().numerics_changed());
  EXPECT_EQ(Stored().numerics_class(), "fake-r2");
}

TEST_F(TurnTest, PolicyAndDurabilityBelongToTheSession) {
  v1::WorkerGenerateRequest request = Request("t1", 12, 4);
  request.mutable_encode()->set_mode(v1::EncodePolicy::SEQUENTIAL);
  request.set_durability(v1::MEMORY);
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(request, first));
  ASSERT_OK(worker.Offload());
  ASSERT_OK(worker.Run(Request("t2", 12, 4), second));
  const v1::Manifest stored = Stored();
  EXPECT_EQ(stored.durability(), v1::MEMORY);
  ASSERT_EQ(stored.segments_size(), 1);
  EXPECT_TRUE(stored.segments(0).each_token());
}

// A session keeps the number of passes that it began with, whatever a worker's default is.
TEST_F(TurnTest, PassesBelongToTheSession) {
  StoreOneTurn();
  TestWorker::Options options;
  options.engine.passes = 5;
  TestWorker worker("w1", &cache_, options);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_EQ(Stored().passes(), 9u);
}

TEST_F(TurnTest, UnknownSessionsAreNotFound) {
  v1::WorkerGenerateRequest request = Request("t1");
  request.set_create_session(false);
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  EXPECT_THAT(worker.Run(request, sink), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(worker.core.store.size(), 0u);
}

TEST_F(TurnTest, VersionsAreChecked) {
  TestWorker worker("w1", &cache_);
  RecordingSink sink, stale, right;
  ASSERT_OK(worker.Run(Request("t1"), sink));
  v1::WorkerGenerateRequest request = Request("t2");
  request.set_expected_version(0);
  const absl::Status status = worker.Run(request, stale);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(status), kReasonVersionConflict);
  EXPECT_THAT(stale.frames, IsEmpty());
  request.set_expected_version(1);
  EXPECT_OK(worker.Run(request, right));
}

TEST_F(TurnTest, AStopTokenEndsTheReply) {
  const std::vector<int32_t> reply = Undisturbed({Request("t1")})[0];
  v1::WorkerGenerateRequest request = Request("t1");
  request.mutable_sampling()->add_stop_tokens(reply[9]);
  const auto end = std::find(reply.begin(), reply.end(), reply[9]) + 1;
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(request, sink));
  EXPECT_EQ(sink.tokens, std::vector<int32_t>(reply.begin(), end));
  EXPECT_EQ(sink.done().finish_reason(), v1::STOP);
}

TEST_F(TurnTest, TheSeedIsTheSameForEveryAttempt) {
  v1::WorkerGenerateRequest request = Request("t1");
  request.mutable_sampling()->clear_seed();
  EXPECT_EQ(SeedOf(request), SeedOf(request));
  v1::WorkerGenerateRequest other = request;
  other.set_turn_id("t2");
  EXPECT_NE(SeedOf(request), SeedOf(other));
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(request, sink));
  EXPECT_EQ(sink.frames.front().seed(), SeedOf(request));
}

TEST_F(TurnTest, ChatIsRenderedAsWhatIsNew) {
  TestWorker worker("w1", &cache_);
  v1::WorkerGenerateRequest request = Request("t1", 0, 3);
  v1::Message* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("Hi <|im_end|>");
  RecordingSink first, second;
  ASSERT_OK(worker.Run(request, first));
  const v1::Manifest one = Stored();
  // The template's strings are tokens; the user's are text.
  std::vector<int32_t> ids(one.tokens().begin(), one.tokens().begin() + one.committed_tokens() - 3);
  EXPECT_EQ(*worker.tokenizer.Decode(ids, false),
            "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), FakeTokenizer::kEnd), 1);

  request.set_turn_id("t2");
  ASSERT_OK(worker.Run(request, second));
  const v1::Manifest two = Stored();
  ids.assign(two.tokens().begin() + one.committed_tokens(),
             two.tokens().begin() + two.committed_tokens() - 3);
  EXPECT_EQ(*worker.tokenizer.Decode(ids, false),
            "<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(TurnTest, BadRequestsNameTheField) {
  struct Bad {
    const char* field;
    std::function<void(v1::WorkerGenerateRequest&)> change;
  };
  const Bad cases[] = {
      {"session_id", [](auto& r) { r.set_session_id("a/b"); }},
      {"turn_id", [](auto& r) { r.set_turn_id(std::string(200, 'x')); }},
      {"temperature", [](auto& r) { r.mutable_sampling()->set_temperature(-1); }},
      {"temperature", [](auto& r) { r.mutable_sampling()->set_temperature(NAN); }},
      {"top_p", [](auto& r) { r.mutable_sampling()->set_top_p(0); }},
      {"min_p", [](auto& r) { r.mutable_sampling()->set_min_p(1); }},
      {"max_tokens", [](auto& r) { r.mutable_sampling()->set_max_tokens(0); }},
      {"stop_tokens", [](auto& r) { r.mutable_sampling()->add_stop_tokens(512); }},
      {"tokens", [](auto& r) { r.mutable_tokens()->add_ids(-1); }},
      {"passes", [](auto& r) { r.mutable_encode()->set_passes(65); }},
      {"resume_from", [](auto& r) { r.add_resume_from(512); }},
      {"resume_from",
       [](auto& r) {
         for (int i = 0; i < 41; ++i) r.add_resume_from(1);
       }},
      {"seed",
       [](auto& r) {
         r.add_resume_from(1);
         r.mutable_sampling()->clear_seed();
       }},
      {"input", [](auto& r) { r.mutable_tokens()->clear_ids(); }},
      {"role", [](auto& r) { r.mutable_chat()->add_messages()->set_role("robot"); }},
  };
  TestWorker worker("w1", &cache_);
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.field);
    v1::WorkerGenerateRequest request = Request("t1");
    bad.change(request);
    RecordingSink sink;
    EXPECT_THAT(worker.Run(request, sink),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.field)));
    EXPECT_EQ(worker.core.store.size(), 0u);
    EXPECT_EQ(Holder(), "");
  }
}

TEST_F(TurnTest, PrefetchMakesTheTurnHot) {
  StoreOneTurn();
  TestWorker worker("w1", &cache_);
  v1::PrefetchRequest request;
  request.set_tenant(kTenant);
  request.set_session_id(kSession);
  ASSERT_OK_AND_ASSIGN(v1::PrefetchResponse response,
                       worker.core.runner.Prefetch(request, absl::InfiniteFuture()));
  EXPECT_EQ(response.restored_tokens(), 59u);
  EXPECT_EQ(response.restored_bytes(), 4u * 4096u);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_EQ(sink.done().restore_source(), v1::HOT);
  ASSERT_OK_AND_ASSIGN(response, worker.core.runner.Prefetch(request, absl::InfiniteFuture()));
  EXPECT_EQ(response.restored_bytes(), 0u);
}

}  // namespace
}  // namespace lckv::worker
