#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/error_info.h"
#include "services/worker/load_board.h"
#include "services/worker/worker_core.h"
#include "tests/testing/fake_cache_client.h"
#include "tests/testing/fake_engine.h"
#include "tests/testing/fake_tokenizer.h"
#include "tests/testing/status_matchers.h"

namespace lckv::worker {

using ::lckv::testing::FakeCacheClient;
using ::lckv::testing::FakeEngine;
using ::lckv::testing::FakeTokenizer;
using ::lckv::testing::StatusIs;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

inline constexpr char kTenant[] = "acme";
inline constexpr char kSession[] = "s1";
inline constexpr char kChatMl[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

// Keeps the frames of a turn. Takes at most `max_tokens` tokens, then the client is gone.
class RecordingSink final : public FrameSink {
 public:
  bool Write(v1::GenerateResponse frame) override {
    if (on_write) on_write(frame);
    refused |= static_cast<int>(tokens.size()) + frame.token_ids_size() > max_tokens;
    if (refused) return false;
    tokens.insert(tokens.end(), frame.token_ids().begin(), frame.token_ids().end());
    text += frame.text();
    frames.push_back(std::move(frame));
    return true;
  }
  bool finished() const { return !frames.empty() && frames.back().has_done(); }
  const v1::TurnResult& done() const { return frames.back().done(); }

  int max_tokens = INT32_MAX;
  bool refused = false;
  std::function<void(const v1::GenerateResponse&)> on_write;
  std::vector<v1::GenerateResponse> frames;
  std::vector<int32_t> tokens;
  std::string text;
};

// A worker over a fake engine, of one cache node that it may share with others.
struct TestWorker {
  struct Options {
    FakeEngine::Options engine;
    NumericsPolicy numerics = NumericsPolicy::kSame;
    FingerprintPolicy fingerprint = FingerprintPolicy::kRecompute;
    absl::Duration commit_timeout = absl::Milliseconds(200);
    absl::Duration commit_backoff = absl::Milliseconds(1);
    int checkpoint_tokens = 16;
    Clock* clock = Clock::Real();
  };

  TestWorker(const std::string& id, FakeCacheClient* cache) : TestWorker(id, cache, Options()) {}
  TestWorker(const std::string& id, FakeCacheClient* cache, const Options& options)
      : chat(*ChatTemplate::FromJinja(kChatMl)),
        engine(options.engine),
        metrics(&registry, /*vllm_names=*/false),
        core(MakeParts(cache, options.clock), MakeOptions(id, options)) {}

  WorkerCore::Parts MakeParts(FakeCacheClient* cache, Clock* clock) {
    WorkerCore::Parts parts;
    parts.engine = &engine;
    parts.tokenizer = &tokenizer;
    parts.chat_template = &chat;
    parts.cache = cache;
    parts.listener = &board;
    parts.clock = clock;
    parts.metrics = &metrics;
    return parts;
  }
  static WorkerCoreOptions MakeOptions(const std::string& id, const Options& options) {
    WorkerCoreOptions core;
    core.sync.worker_id = id;
    core.sync.backoff_min = options.commit_backoff;
    core.opener.numerics = options.numerics;
    core.opener.fingerprint = options.fingerprint;
    core.turns.commit_timeout = options.commit_timeout;
    core.turns.checkpoint_tokens = options.checkpoint_tokens;
    return core;
  }

  absl::Status Run(const v1::WorkerGenerateRequest& request, RecordingSink& sink) {
    TurnControl control;
    return Run(request, control, sink);
  }
  absl::Status Run(const v1::WorkerGenerateRequest& request, TurnControl& control,
                   RecordingSink& sink) {
    TurnArrival arrival;
    arrival.received = absl::Now();
    return core.runner.Run(request, arrival, control, sink);
  }
  absl::Status Offload() {
    return core.evictor.Offload({kTenant, kSession}, "offload", absl::Now() + absl::Seconds(5));
  }
  // Waits for background pushes. Afterwards none are made any more.
  void FlushPushes() { core.push_queue.Stop(); }
  // Waits until no push of the session is queued or running.
  void WaitForPushes() const {
    const std::shared_ptr<HotSession> session = core.store.Find({kTenant, kSession});
    while (session != nullptr) {
      {
        MutexLock lock(session->mu);
        if (session->push == HotSession::Push::kNone) return;
      }
      std::this_thread::yield();
    }
  }
  bool Hot() const { return core.store.Find({kTenant, kSession}) != nullptr; }

  FakeTokenizer tokenizer;
  ChatTemplate chat;
  FakeEngine engine;
  MetricsRegistry registry;
  WorkerMetrics metrics;
  LoadBoard board;
  WorkerCore core;
};

// A turn that runs on a thread of its own.
class BackgroundTurn {
 public:
  BackgroundTurn(TestWorker* worker, v1::WorkerGenerateRequest request)
      : request_(std::move(request)),
        thread_([this, worker] { status_ = worker->Run(request_, control, sink); }) {}
  ~BackgroundTurn() {
    if (thread_.joinable()) thread_.join();
  }
  absl::Status Join() {
    thread_.join();
    return status_;
  }

  TurnControl control;
  RecordingSink sink;

 private:
  const v1::WorkerGenerateRequest request_;
  absl::Status status_;
  std::thread thread_;
};

class WorkerFixture : public ::testing::Test {
 protected:
  // A turn of the session with `input_tokens` input tokens that depend on the turn.
  static v1::WorkerGenerateRequest Request(const std::string& turn_id, int input_tokens = 20,
                                           int max_tokens = 40) {
    v1::WorkerGenerateRequest request;
    request.set_tenant(kTenant);
    request.set_session_id(kSession);
    request.set_turn_id(turn_id);
    request.set_create_session(true);
    for (int i = 0; i < input_tokens; ++i) {
      request.mutable_tokens()->add_ids(300 + (i * 7 + turn_id.back()) % 150);
    }
    request.mutable_sampling()->set_seed(5);
    request.mutable_sampling()->set_max_tokens(static_cast<uint32_t>(max_tokens));
    return request;
  }
  static v1::WorkerGenerateRequest Resumed(v1::WorkerGenerateRequest request,
                                           const std::vector<int32_t>& tokens) {
    request.mutable_resume_from()->Assign(tokens.begin(), tokens.end());
    request.set_takeover(true);
    return request;
  }

  // Replies to these requests, in turn, when nothing goes wrong.
  static std::vector<std::vector<int32_t>> Undisturbed(
      const std::vector<v1::WorkerGenerateRequest>& requests) {
    FakeCacheClient cache;
    TestWorker worker("reference", &cache);
    std::vector<std::vector<int32_t>> replies;
    for (const v1::WorkerGenerateRequest& request : requests) {
      RecordingSink sink;
      EXPECT_OK(worker.Run(request, sink));
      replies.push_back(sink.tokens);
    }
    return replies;
  }

  static std::vector<int32_t> Joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }
  static std::vector<int32_t> First(const std::vector<int32_t>& tokens, size_t count) {
    return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)};
  }

  // The holder's lease is taken by another worker, which leaves the session as it is. The new
  // epoch.
  uint64_t StealLease(const std::string& thief) {
    v1::AcquireRequest request;
    request.set_tenant(kTenant);
    request.set_session_id(kSession);
    request.set_worker_id(thief);
    request.set_takeover(true);
    const absl::StatusOr<v1::AcquireResponse> response = cache_.core().Acquire(request);
    EXPECT_OK(response);
    return response.ok() ? response->epoch() : 0;
  }
  void GiveBack(uint64_t epoch) {
    v1::ReleaseRequest request;
    request.set_tenant(kTenant);
    request.set_session_id(kSession);
    request.set_epoch(epoch);
    EXPECT_OK(cache_.core().Release(request));
  }
  // As if the lease had not been renewed for long.
  static void ForgetRenewals(TestWorker& worker) {
    const std::shared_ptr<HotSession> session = worker.core.store.Find({kTenant, kSession});
    MutexLock lock(session->mu);
    session->lease_confirmed = absl::InfinitePast();
  }

  v1::Manifest Stored() { return cache_.Stored(kTenant, kSession); }
  std::string Holder() { return cache_.Holder(kTenant, kSession); }

  FakeCacheClient cache_;
};

}  // namespace lckv::worker
