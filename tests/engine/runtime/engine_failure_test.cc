// A device error ends every turn with that error and leaves the sessions as they were, so that
// they can be saved and go on elsewhere.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "tests/engine/runtime/engine_harness.h"
#include "tests/testing/forwarding_backend.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

// A backend whose device breaks when told so.
class BreakableBackend final : public ForwardingBackend {
 public:
  BreakableBackend(std::unique_ptr<Backend> inner, const std::atomic<bool>* broken)
      : ForwardingBackend(std::move(inner)), broken_(broken) {}

  absl::Status Synchronize() override {
    return broken_->load() ? absl::InternalError("the device fell off the bus")
                           : ForwardingBackend::Synchronize();
  }

 private:
  const std::atomic<bool>* const broken_;
};

// The KV of the last token, which a turn computes first, may stay.
void ExpectAsBefore(Engine& engine, const std::string& session, const SessionExport& before) {
  SessionExport after = ExportAll(engine, session);
  EXPECT_GE(after.transcript.kv_tokens, before.transcript.kv_tokens);
  EXPECT_LE(after.transcript.kv_tokens, before.transcript.kv_tokens + 1);
  after.transcript.kv_tokens = before.transcript.kv_tokens;
  const PageLayout& layout = engine.page_layout();
  const int64_t full = before.transcript.kv_tokens / layout.tokens_per_page();
  after.pages.resize(before.pages.size());
  if (full < static_cast<int64_t>(after.pages.size())) {
    layout.ZeroBeyond(before.transcript.kv_tokens % layout.tokens_per_page(),
                      after.pages.back().data());
  }
  EXPECT_TRUE(SameState(after, before)) << session;
}

TEST(EngineFailureTest, TurnsFailAndSessionsStayAsTheyWere) {
  std::atomic<bool> broken = false;
  ASSERT_OK_AND_ASSIGN(auto checkpoint, Checkpoint::Open(GoldenModelPath("odd-map"), {}));
  ASSERT_OK_AND_ASSIGN(auto cpu, MakeCpuBackend({2, ""}));
  ASSERT_OK_AND_ASSIGN(
      auto engine,
      Engine::Create(*checkpoint, std::make_unique<BreakableBackend>(std::move(cpu), &broken),
                     SmallOptions(), nullptr));
  const auto tokens = [](size_t count, uint32_t seed) { return RandomTokens(count, 97, seed); };
  OpenEmpty(*engine, "decoding");
  OpenEmpty(*engine, "encoding");
  OpenEmpty(*engine, "new");
  RunTurn(*engine, MakeTurn("decoding", tokens(30, 1), 5));
  RunTurn(*engine, MakeTurn("encoding", tokens(20, 2), 5));
  const SessionExport decoding_before = ExportAll(*engine, "decoding");
  const SessionExport encoding_before = ExportAll(*engine, "encoding");
  const int64_t pages_before = engine->load().pages_used;

  // One token is taken from this turn, the rest waits in the engine.
  auto decoding = Start(*engine, MakeTurn("decoding", tokens(4, 3), 100), 1);
  ASSERT_TRUE(decoding->PopWithTimeout(kPatience).has_value());
  broken = true;
  auto encoding = Start(*engine, MakeTurn("encoding", tokens(40, 4), 100));
  auto fresh = MakeStream();
  const absl::Status submitted = engine->Submit(MakeTurn("new", tokens(4, 5), 9), fresh);
  for (const auto& stream : {decoding, encoding}) {
    EXPECT_THAT(Await(*stream).outcome.status, StatusIs(absl::StatusCode::kInternal));
  }
  if (submitted.ok()) {
    EXPECT_THAT(Await(*fresh).outcome.status, StatusIs(absl::StatusCode::kInternal));
  }
  ExpectAsBefore(*engine, "decoding", decoding_before);
  ExpectAsBefore(*engine, "encoding", encoding_before);
  EXPECT_EQ(engine->load().pages_used, pages_before);
  EXPECT_THAT(engine->Submit(MakeTurn("new", tokens(4, 5), 9), MakeStream()),
              StatusIs(absl::StatusCode::kInternal));
  ExpectNothingLeft(*engine, {"decoding", "encoding", "new"});
}

}  // namespace
}  // namespace lckv
