#pragma once

// What the engine's tests share: a small engine on a committed checkpoint, turns that are submitted
// and awaited, and session states that move from engine to engine.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/crc32c.h"
#include "engine/model/checkpoint.h"
#include "engine/ops/backend.h"
#include "engine/runtime/engine.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {

// No test waits so long; it only keeps a broken engine from hanging the run.
constexpr absl::Duration kPatience = absl::Minutes(4);

inline std::string BardPath() { return DataPath("models/bard-lckv-w2"); }
inline std::string GoldenModelPath(const std::string& name) { return GoldenPath("lckv/" + name); }

// Small pages, so that short conversations cross their borders.
inline EngineOptions SmallOptions() {
  EngineOptions options;
  options.tokens_per_page = 16;
  options.kv_memory_bytes = int64_t{16} << 20;
  options.max_context = 512;
  options.step_tokens = 64;
  return options;
}

inline std::unique_ptr<Engine> MakeEngine(const std::string& model, const EngineOptions& options,
                                          int threads = 2, EngineObserver* observer = nullptr) {
  auto checkpoint = Checkpoint::Open(model, {});
  EXPECT_OK(checkpoint);
  auto backend = MakeCpuBackend({threads, ""});
  EXPECT_OK(backend);
  auto engine = Engine::Create(**checkpoint, *std::move(backend), options, observer);
  EXPECT_OK(engine);
  return *std::move(engine);
}

// Token ids that mean nothing; the same for a seed everywhere.
inline std::vector<int32_t> RandomTokens(size_t count, int vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size));
  }
  return tokens;
}

inline SamplingOptions Seeded(uint64_t seed) { return {0.9f, 0, 0.98f, 0.0f, seed}; }

struct TurnResult {
  std::vector<int32_t> tokens;
  TurnOutcome outcome;
};

// Everything that comes out of a stream until its turn ends.
inline TurnResult Await(TurnStream& stream) {
  TurnResult result;
  while (true) {
    const std::optional<TurnEvent> event = stream.PopWithTimeout(kPatience);
    if (!event.has_value()) {
      result.outcome.status = absl::DeadlineExceededError("the turn did not end");
      return result;
    }
    if (std::holds_alternative<TurnOutcome>(*event)) {
      result.outcome = std::get<TurnOutcome>(*event);
      return result;
    }
    result.tokens.push_back(std::get<TurnToken>(*event).id);
  }
}

inline std::shared_ptr<TurnStream> MakeStream(size_t capacity = 1024) {
  return std::make_shared<TurnStream>(capacity, nullptr);
}

// Submits and returns the stream; the test fails when the engine refuses.
inline std::shared_ptr<TurnStream> Start(Engine& engine, TurnRequest request,
                                         size_t capacity = 1024) {
  auto stream = MakeStream(capacity);
  EXPECT_OK(engine.Submit(std::move(request), stream));
  return stream;
}

inline TurnResult RunTurn(Engine& engine, TurnRequest request) {
  TurnResult result = Await(*Start(engine, std::move(request)));
  EXPECT_OK(result.outcome.status);
  return result;
}

inline TurnRequest MakeTurn(const std::string& session, std::vector<int32_t> input,
                            int32_t max_tokens, SamplingOptions sampling = {}) {
  TurnRequest request;
  request.session = session;
  request.input = std::move(input);
  request.max_tokens = max_tokens;
  request.sampling = sampling;
  return request;
}

inline SessionExport ExportAll(Engine& engine, const std::string& session) {
  auto exported = engine.Export(session, 0, 1 << 20);
  EXPECT_OK(exported);
  return *std::move(exported);
}

inline void OpenEmpty(Engine& engine, const std::string& session, const EncodePolicy& policy = {}) {
  EXPECT_OK(engine.OpenSession(session, policy, {}, nullptr));
}

// The next page of a restore.
inline absl::Status LandPage(PageImport& import, const std::vector<uint8_t>& bytes) {
  auto staged = import.Stage(1, absl::Now() + kPatience);
  if (!staged.ok()) return staged.status();
  std::memcpy(staged->front(), bytes.data(), bytes.size());
  return import.Landed({Crc32c(bytes.data(), bytes.size())});
}

// `count` pages whose contents do not matter.
inline void LandAnything(const Engine& engine, PageImport& import, int64_t count) {
  const std::vector<uint8_t> page(static_cast<size_t>(engine.page_layout().page_bytes()), 1);
  for (int64_t i = 0; i < count; ++i) EXPECT_OK(LandPage(import, page));
}

// Opens `session` with the first `tokens` tokens of `state` and the pages of its first `kv_tokens`.
// What the pages hold beyond is overwritten: nobody may read it.
inline absl::Status OpenFrom(Engine& engine, const std::string& session, const EncodePolicy& policy,
                             const SessionExport& state, int32_t tokens, int32_t kv_tokens) {
  SessionTranscript transcript = state.transcript;
  transcript.tokens.resize(static_cast<size_t>(tokens));
  TruncateSegments(tokens, transcript.segments);
  transcript.kv_tokens = kv_tokens;
  const PageLayout& layout = engine.page_layout();
  std::unique_ptr<PageImport> import;
  if (kv_tokens > 0) {
    auto reserved = engine.ReserveImport(layout.PagesFor(kv_tokens));
    if (!reserved.ok()) return reserved.status();
    import = *std::move(reserved);
    const int64_t tokens_per_page = layout.tokens_per_page();
    for (int64_t page = 0; page < import->size(); ++page) {
      // The token's own bytes, and 0xFF (NaN in every KV format) in place of the others.
      std::vector<uint8_t> known = state.pages[static_cast<size_t>(page)];
      std::vector<uint8_t> mask(known.size(), 0xFF);
      const int64_t left = kv_tokens - page * tokens_per_page;
      const int64_t held = std::min(left, tokens_per_page);
      layout.ZeroBeyond(held, known.data());
      layout.ZeroBeyond(held, mask.data());
      for (size_t i = 0; i < known.size(); ++i) known[i] |= static_cast<uint8_t>(~mask[i]);
      if (absl::Status status = LandPage(*import, known); !status.ok()) return status;
    }
  }
  return engine.OpenSession(session, policy, std::move(transcript), std::move(import));
}

inline std::string Describe(const std::vector<SegmentRun>& segments) {
  std::string text;
  for (const SegmentRun& run : segments) {
    absl::StrAppend(&text, run.tokens, run.each_token ? "*1 " : " ");
  }
  return text;
}

// Transcripts, borders and every byte of every page.
inline ::testing::AssertionResult SameState(const SessionExport& a, const SessionExport& b) {
  if (a.transcript.tokens != b.transcript.tokens) {
    return ::testing::AssertionFailure() << "transcripts differ";
  }
  if (a.transcript.segments != b.transcript.segments) {
    return ::testing::AssertionFailure() << "segments " << Describe(a.transcript.segments)
                                         << "against " << Describe(b.transcript.segments);
  }
  if (a.transcript.kv_tokens != b.transcript.kv_tokens || a.pages.size() != b.pages.size()) {
    return ::testing::AssertionFailure()
           << "KV of " << a.transcript.kv_tokens << " tokens in " << a.pages.size()
           << " pages against " << b.transcript.kv_tokens << " in " << b.pages.size();
  }
  for (size_t page = 0; page < a.pages.size(); ++page) {
    if (a.pages[page] == b.pages[page]) continue;
    const auto differs =
        std::mismatch(a.pages[page].begin(), a.pages[page].end(), b.pages[page].begin());
    return ::testing::AssertionFailure()
           << "page " << page << " differs at byte " << differs.first - a.pages[page].begin();
  }
  return ::testing::AssertionSuccess();
}

// Closes the sessions and expects the whole pool back.
inline void ExpectNothingLeft(Engine& engine, const std::vector<std::string>& sessions) {
  for (const std::string& session : sessions) EXPECT_OK(engine.CloseSession(session));
  const EngineLoad load = engine.load();
  EXPECT_EQ(load.pages_used, 0);
  EXPECT_EQ(load.open_sessions, 0);
  EXPECT_EQ(load.running_turns, 0);
  EXPECT_EQ(load.waiting_turns, 0);
}

}  // namespace lckv::testing
