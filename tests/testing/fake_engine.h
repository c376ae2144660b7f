#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/runtime/engine.h"

namespace lckv::testing {

// An Engine without a model, for tests of what stands on one. Deterministic: the "KV" of a position
// is a hash of all tokens and segment borders up to it, the next token a hash of that and the seed.
// So wrong tokens, wrong borders and wrong pages all show up as other tokens or as `bad_imports`.
// Thread-safe.
class FakeEngine final : public Engine {
 public:
  static constexpr int kTokensPerPage = 16;
  static constexpr int32_t kVocab = 512;
  static constexpr int32_t kEosToken = 2;

  struct Options {
    int64_t pool_pages = 256;
    int max_context = 1024;
    uint8_t fingerprint = 0x11;  // each of its bytes
    std::string numerics_class = "fake-r1";
    int32_t passes = 9;                 // where the session says nothing
    int64_t staging_pages = INT64_MAX;  // that Stage hands out at once
    int32_t export_pages = INT32_MAX;   // of one Export at most, whatever is asked
  };
  FakeEngine() : FakeEngine(Options()) {}
  explicit FakeEngine(const Options& options);
  ~FakeEngine() override;

  const ModelConfig& config() const override { return config_; }
  const PageLayout& page_layout() const override { return layout_; }
  int max_context() const override { return options_.max_context; }
  const Sha256Digest& fingerprint() const override { return fingerprint_; }
  absl::string_view numerics_class() const override { return options_.numerics_class; }
  std::string description() const override { return "fake"; }
  EngineLoad load() const override;
  int32_t passes(const EncodePolicy& policy) const override {
    return policy.passes > 0 ? policy.passes : options_.passes;
  }

  absl::StatusOr<std::unique_ptr<PageImport>> ReserveImport(int64_t num_pages) override;
  absl::Status OpenSession(absl::string_view session, const EncodePolicy& policy,
                           SessionTranscript transcript,
                           std::unique_ptr<PageImport> pages) override;
  absl::Status CloseSession(absl::string_view session) override;
  absl::StatusOr<SessionTranscript> GetTranscript(absl::string_view session) const override;
  absl::StatusOr<SessionExport> Export(absl::string_view session, int32_t first_page,
                                       int32_t max_pages) override;
  absl::Status Truncate(absl::string_view session, int32_t tokens) override;
  absl::Status Submit(TurnRequest request, std::shared_ptr<TurnStream> stream) override;
  void Cancel(absl::string_view session) override;

  // Tests' hands.
  // The tokens that follow `transcript`.
  static std::vector<int32_t> Continuation(SessionTranscript transcript, uint64_t seed, int count);
  // Generates at most `tokens` more, over all turns; then turns stand still.
  void AllowTokens(int64_t tokens);
  void AllowAll() { AllowTokens(INT64_MAX); }
  // Waits until what was allowed is generated.
  void WaitUntilStill();
  // The turn that runs, or the next one, fails.
  void FailNextTurn(absl::Status status);
  // Imported pages whose bytes were not what this engine would have computed.
  int bad_imports() const { return bad_imports_; }
  // Positions whose KV was computed here.
  int64_t computed_tokens() const { return computed_tokens_; }

 private:
  class Import;
  struct Turn {
    TurnRequest request;
    std::shared_ptr<TurnStream> stream;
    TurnOutcome outcome;
    bool cancelled = false;
  };
  struct Session {
    EncodePolicy policy;
    SessionTranscript transcript;
    int64_t pages = 0;
    std::unique_ptr<Turn> turn;
  };

  void Main();
  bool StepLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AdvanceLocked(Session& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishLocked(Session& session, FinishReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Session*> FindLocked(absl::string_view name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ReservePagesLocked(int64_t pages) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveBackPages(int64_t pages);

  const Options options_;
  ModelConfig config_;
  PageLayout layout_;
  Sha256Digest fingerprint_;
  std::atomic<int> bad_imports_{0};
  std::atomic<int64_t> computed_tokens_{0};

  mutable Mutex mu_;
  CondVar changed_;
  std::map<std::string, std::unique_ptr<Session>, std::less<>> sessions_ ABSL_GUARDED_BY(mu_);
  int64_t pages_used_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t allowed_ ABSL_GUARDED_BY(mu_) = INT64_MAX;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace lckv::testing
