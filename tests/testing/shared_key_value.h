#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cache/store/key_value.h"

namespace lckv::testing {

// A KeyValue that the test keeps a hand on: what is in it outlives the store above, its writes are
// counted, and they fail when told so. Thread-safe.
class SharedKeyValue final : public KeyValue {
 public:
  // `inner` must outlive it.
  explicit SharedKeyValue(KeyValue* inner) : inner_(inner) {}

  // The next write fails and changes nothing.
  void FailNextWrite(absl::Status status) {
    MutexLock lock(mu_);
    failure_ = std::move(status);
  }
  // For each write that was made since the last call, whether it was synced.
  std::vector<bool> TakeSyncs() {
    MutexLock lock(mu_);
    return std::exchange(syncs_, {});
  }

  absl::StatusOr<std::string> Get(Table table, absl::string_view key) override {
    return inner_->Get(table, key);
  }
  absl::Status GetInto(Table table, absl::string_view key, absl::Span<char> out) override {
    return inner_->GetInto(table, key, out);
  }
  absl::Status Write(const WriteBatch& batch, bool sync) override {
    {
      MutexLock lock(mu_);
      if (!failure_.ok()) return std::exchange(failure_, absl::OkStatus());
      syncs_.push_back(sync);
    }
    return inner_->Write(batch, sync);
  }
  absl::Status Scan(
      Table table, absl::string_view prefix, absl::string_view after,
      const std::function<bool(absl::string_view, absl::string_view)>& visit) override {
    return inner_->Scan(table, prefix, after, visit);
  }
  uint64_t ApproximateBytes() override { return inner_->ApproximateBytes(); }

 private:
  KeyValue* const inner_;
  Mutex mu_;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::vector<bool> syncs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv::testing
