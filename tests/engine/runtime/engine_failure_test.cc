// A device error ends every turn with that error and leaves the sessions as they were, so that
// they can be saved and go on elsewhere.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "tests/engine/runtime/engine_harness.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

// A backend whose device breaks when told so.
class BreakableBackend final : public Backend {
 public:
  BreakableBackend(std::unique_ptr<Backend> inner, const std::atomic<bool>* broken)
      : inner_(std::move(inner)), broken_(broken) {}

  absl::string_view numerics_class() const override { return inner_->numerics_class(); }
  bool memory_is_host() const override { return inner_->memory_is_host(); }
  std::string description() const override { return inner_->description(); }
  absl::StatusOr<DeviceBuffer> Allocate(size_t size_bytes) override {
    return inner_->Allocate(size_bytes);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    inner_->CopyToDevice(device, host, size_bytes);
  }
  void CopyToHost(void* host, const void* device, size_t size_bytes) override {
    inner_->CopyToHost(host, device, size_bytes);
  }
  absl::Status Synchronize() override {
    return broken_->load() ? absl::InternalError("the device fell off the bus")
                           : inner_->Synchronize();
  }
  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                              DType format) override {
    return inner_->PrepareLinear(matrix, format);
  }
  void Embed(const EmbedParams& params) override { inner_->Embed(params); }
  void RmsNorm(const RmsNormParams& params) override { inner_->RmsNorm(params); }
  void Linear(const LinearParams& params) override { inner_->Linear(params); }
  void Rope(const RopeParams& params) override { inner_->Rope(params); }
  void StoreKv(const StoreKvParams& params) override { inner_->StoreKv(params); }
  void Attention(const AttentionParams& params) override { inner_->Attention(params); }
  void SwiGlu(const SwiGluParams& params) override { inner_->SwiGlu(params); }
  void KvChange(const KvChangeParams& params) override { inner_->KvChange(params); }
  void GatherRows(const GatherRowsParams& params) override { inner_->GatherRows(params); }
  void CopyRows(const CopyRowsParams& params) override { inner_->CopyRows(params); }
  void Sample(const SampleParams& params) override { inner_->Sample(params); }
  void Crc32c(const Crc32cParams& params) override { inner_->Crc32c(params); }

 private:
  const std::unique_ptr<Backend> inner_;
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
