#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/bench/workload.h"
#include "engine/runtime/engine.h"

namespace lckv {

struct PageTraffic {
  int64_t bytes = 0;
  double seconds = 0;
};

// Sessions whose KV is made up and imported instead of computed: a large batch at any context
// length within seconds. The values are random bf16 or f16 numbers of the size that keys have; no
// figure depends on them. One caller at a time.
class HeldSessions {
 public:
  // `engine` must outlive this object.
  explicit HeldSessions(Engine* engine) : engine_(engine) {}
  ~HeldSessions();

  // Makes the first `count` sessions hold the KV of exactly `tokens` tokens: longer ones are cut,
  // shorter ones (all of them, if `count` is larger) are imported anew. Sessions beyond `count` are
  // cut as well. Cheapest in descending order of `tokens`.
  absl::Status Hold(int count, int32_t tokens);
  void Clear();

  // Lets the first `count` sessions generate `steps` tokens at once and cuts them back. `tokens` +
  // 1 + `steps` must fit the engine's context.
  absl::StatusOr<TurnTimes> Decode(int count, int32_t steps);

  // All that Hold has imported so far, and how long that took: making the bytes included.
  const PageTraffic& imported() const { return imported_; }
  // Pages of the first session, read out.
  absl::StatusOr<PageTraffic> Export();
  // Closes and imports the first session again, alone: the engine's part only, without the making
  // of bytes.
  absl::StatusOr<PageTraffic> Import();

 private:
  struct Slot {
    bool open = false;
    int32_t tokens = 0;
  };
  static std::string NameOf(size_t index);
  absl::Status Open(size_t index, int32_t tokens, PageTraffic& traffic);
  absl::Status OpenMany(const std::vector<size_t>& indices, int32_t tokens);
  absl::Status Close(size_t index);

  Engine* const engine_;
  std::vector<Slot> slots_;
  std::vector<uint8_t> page_;  // what every imported page holds
  uint32_t page_crc32c_ = 0;
  PageTraffic imported_;
};

}  // namespace lckv
