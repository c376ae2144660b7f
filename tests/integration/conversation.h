#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lckv/v1/inference.grpc.pb.h"
#include "tests/integration/cluster.h"

namespace lckv::testing {

// A user's turn.
struct Turn {
  std::string text;
  uint32_t max_tokens = 48;
  float temperature = 0;
  uint64_t seed = 11;
  bool discard_on_disconnect = false;
  std::string api_key = {};  // empty: none is sent
};

// The model's.
struct Reply {
  absl::Status status;
  std::vector<int32_t> tokens;
  std::string text;
  v1::TurnResult done;  // if status is OK
};

// A turn whose stream is being read. Cancelled when destroyed early.
class RunningTurn {
 public:
  // Opens `session` if there is none.
  RunningTurn(v1::Inference::Stub& gateway, const std::string& session, const Turn& turn);
  ~RunningTurn();
  RunningTurn(const RunningTurn&) = delete;
  RunningTurn& operator=(const RunningTurn&) = delete;

  // Reads until `count` tokens have arrived in all; false if the stream ended before.
  bool ReadTokens(size_t count);
  // Reads to the end.
  Reply Finish();
  void Cancel() { context_.TryCancel(); }
  const std::vector<int32_t>& tokens() const { return reply_.tokens; }

 private:
  bool ReadFrame();

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
  Reply reply_;
  bool finished_ = false;
};

// One turn from beginning to end.
Reply Say(v1::Inference::Stub& gateway, const std::string& session, const Turn& turn);
// The same right after a failure: asks again, as clients do, while the answer is that the session
// is still busy with a turn that was broken off, or that a service is not available yet.
Reply SayPatiently(v1::Inference::Stub& gateway, const std::string& session, const Turn& turn);

// What the gateway knows of a session.
absl::StatusOr<v1::SessionInfo> GetSession(v1::Inference::Stub& gateway,
                                           const std::string& session);
// "worker-1" of the id "worker-1#4711abcd": without the mark of its incarnation.
std::string WorkerName(const std::string& id);
// The name of the worker that holds the session's lease; "" if there is none.
std::string HolderOf(v1::Inference::Stub& gateway, const std::string& session);
// Waits until the cache node has the KV of the whole transcript.
bool WaitUntilPushed(v1::Inference::Stub& gateway, const std::string& session);

// The turns of every test: greedy and sampled ones in turn, on texts long enough for several pages.
std::vector<Turn> TestTurns(int count);

// The same turns in a new session of a cluster to which nothing happens: what must come out.
std::vector<Reply> UndisturbedReplies(const std::vector<Turn>& turns);

// Expects the same tokens and text, and a committed turn.
void ExpectSameReply(const Reply& actual, const Reply& expected);
// Expects that the session has exactly these acknowledged turns.
void ExpectNothingLost(v1::Inference::Stub& gateway, const std::string& session,
                       uint64_t acknowledged_turns);

}  // namespace lckv::testing
