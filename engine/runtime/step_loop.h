#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "engine/kv/page_layout.h"
#include "engine/kv/page_pool.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/scheduler.h"
#include "engine/runtime/session_state.h"
#include "engine/transformer/transformer.h"

namespace lckv {

// The one thread that owns sessions, pool, scheduler and transformer: Schedule -> Forward (with
// sampling) -> commit, over and over. Others reach it with Run, which executes a function between
// two steps. Members without a mutex belong to the loop's thread. Nothing here blocks on a client
// or a network.
class StepLoop {
 public:
  struct Limits {
    int max_context = 0;
    int max_running_turns = 0;
    int max_waiting_turns = 0;
    int step_tokens = 0;
  };

  // Takes over everything it runs on. `observer` may be null and must outlive the loop, as must
  // `model` and `layout`.
  StepLoop(const Model* model, const PageLayout* layout, std::unique_ptr<Transformer> transformer,
           std::vector<EncodeSlot> slots, DeviceBuffer page_memory, int64_t num_pages,
           const Limits& limits, EngineObserver* observer);
  // Ends running turns as cancelled and joins the thread.
  ~StepLoop();

  // Executes `task` on the loop's thread between two steps and waits for it. Not from the loop's
  // thread.
  void Run(const std::function<void()>& task);
  EngineLoad load() const;

  // For tasks inside Run; contracts in engine.h.
  absl::StatusOr<std::vector<int32_t>> AllocatePages(int64_t count);
  void ReleasePages(const std::vector<int32_t>& pages);
  uint8_t* PageAddress(int32_t page) const;  // from any thread
  // Takes `pages` over on success only.
  absl::Status OpenSession(absl::string_view name, const EncodePolicy& policy, int32_t passes,
                           SessionTranscript transcript, std::vector<int32_t>& pages);
  absl::Status CloseSession(absl::string_view name);
  absl::StatusOr<SessionTranscript> GetTranscript(absl::string_view name) const;
  // Keeps pages [first_page, first_page + max_pages) of those that hold KV from being used for
  // anything else until Release.
  absl::StatusOr<std::shared_ptr<PageHold>> Hold(absl::string_view name, int32_t first_page,
                                                 int32_t max_pages);
  void Release(const std::shared_ptr<PageHold>& hold);
  // After an error of the device: ends every turn with it; later ones are refused.
  void Fail(const absl::Status& status);
  absl::Status Truncate(absl::string_view name, int32_t tokens);
  absl::Status Submit(TurnRequest request, std::shared_ptr<TurnStream> stream);
  // From any thread: takes effect at the next step boundary.
  void Cancel(absl::string_view name);

 private:
  void ThreadMain();
  bool RunRequests();  // false: stop
  void StartWaitingTurns();
  void CancelTurn(absl::string_view name);
  bool Step();  // false: nothing was ready
  SchedulableTurn View(const SessionState& session) const;
  SequenceWork MakeWork(SessionState& session, const StepPick& pick, std::vector<void*>& pages);
  // `token`: chosen in this step, or -1.
  void Commit(SessionState& session, const WorkItem& item, int32_t token, float kv_change);
  void AddToken(SessionState& session, int32_t token);
  void Finish(SessionState& session, FinishReason reason, const absl::Status& status);
  // Why the turn ends with the last token generated; nothing: it goes on.
  std::optional<FinishReason> EndOf(const SessionState& session) const;
  absl::StatusOr<SessionState*> Find(absl::string_view name) const;
  absl::Status CheckRequest(const SessionState& session, const TurnRequest& request) const;
  void BeginTurn(SessionState& session);
  static void CutTranscript(SessionState& session, int32_t tokens);
  // KV of positions from `kv_tokens` on may be computed anew from now on.
  static void RewindKv(SessionState& session, int32_t kv_tokens);
  void PublishLoad();

  const Model* const model_;
  const PageLayout* const layout_;
  const Limits limits_;
  EngineObserver* const observer_;

  std::unique_ptr<Transformer> transformer_;
  std::vector<EncodeSlot> slots_;
  std::vector<bool> slot_taken_;
  DeviceBuffer page_memory_;
  PagePool pool_;
  std::map<std::string, std::unique_ptr<SessionState>, std::less<>> sessions_;
  std::vector<SessionState*> running_;  // in order of arrival
  std::deque<SessionState*> waiting_;
  double commit_seconds_ = 0;  // of the last step
  absl::Status failure_;       // a backend error: final

  // How other threads reach the loop, in the order in which they asked: a cancellation must hit
  // neither less nor more than the turns that were submitted before it.
  struct Task {
    const std::function<void()>* run;
    bool done = false;
  };
  struct Request {
    Task* task = nullptr;  // whose caller waits; null: cancel `session`'s turn
    std::string session;
  };
  mutable Mutex mu_;
  CondVar wake_loop_, task_done_;
  std::deque<Request> requests_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::atomic<int> running_turns_{0}, waiting_turns_{0};
  std::atomic<int64_t> pages_used_{0}, open_sessions_{0};

  std::thread thread_;  // last: starts when everything is there
};

}  // namespace lckv
