#include <array>
#include <deque>
#include <map>
#include <utility>

#include "base/mutex.h"
#include "cache/store/key_value.h"

namespace lckv {
namespace {

class MemoryKeyValue final : public KeyValue {
 public:
  explicit MemoryKeyValue(uint64_t max_page_bytes) : max_page_bytes_(max_page_bytes) {}

  absl::StatusOr<std::string> Get(Table table, absl::string_view key) override {
    MutexLock lock(mu_);
    const Entries& entries = EntriesOf(table);
    const auto it = entries.find(std::string(key));
    if (it == entries.end()) return absl::NotFoundError("no such key");
    return it->second.value;
  }

  absl::Status GetInto(Table table, absl::string_view key, absl::Span<char> out) override {
    MutexLock lock(mu_);
    const Entries& entries = EntriesOf(table);
    const auto it = entries.find(std::string(key));
    if (it == entries.end()) return absl::NotFoundError("no such key");
    if (it->second.value.size() != out.size()) return absl::DataLossError("value size differs");
    it->second.value.copy(out.data(), out.size());
    return absl::OkStatus();
  }

  absl::Status Write(const WriteBatch& batch, bool) override {
    MutexLock lock(mu_);
    for (const WriteBatch::Change& change : batch.changes()) {
      Erase(change.table, change.key);
      if (!change.is_delete) Insert(change);
    }
    DropOldPages();
    return absl::OkStatus();
  }

  absl::Status Scan(
      Table table, absl::string_view prefix, absl::string_view after,
      const std::function<bool(absl::string_view, absl::string_view)>& visit) override {
    MutexLock lock(mu_);
    const Entries& entries = EntriesOf(table);
    auto it = after < prefix ? entries.lower_bound(std::string(prefix))
                             : entries.upper_bound(std::string(after));
    for (; it != entries.end(); ++it) {
      if (it->first.compare(0, prefix.size(), prefix.data(), prefix.size()) != 0) break;
      if (!visit(it->first, it->second.value)) break;
    }
    return absl::OkStatus();
  }

  uint64_t ApproximateBytes() override {
    MutexLock lock(mu_);
    return total_bytes_;
  }

 private:
  struct Entry {
    std::string value;
    uint64_t sequence = 0;  // tells an entry from an older one of the same key
  };
  using Entries = std::map<std::string, Entry>;

  Entries& EntriesOf(Table table) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return tables_[static_cast<size_t>(table)];
  }

  void Insert(const WriteBatch::Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const uint64_t sequence = next_sequence_++;
    EntriesOf(change.table)[change.key] = {std::string(change.value), sequence};
    total_bytes_ += change.value.size();
    if (change.table != Table::kPages) return;
    page_bytes_ += change.value.size();
    page_order_.emplace_back(change.key, sequence);
  }

  void Erase(Table table, const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    Entries& entries = EntriesOf(table);
    const auto it = entries.find(key);
    if (it == entries.end()) return;
    total_bytes_ -= it->second.value.size();
    if (table == Table::kPages) page_bytes_ -= it->second.value.size();
    entries.erase(it);
  }

  void DropOldPages() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    Entries& pages = EntriesOf(Table::kPages);
    // The second condition removes the order entries of pages that were deleted, in time.
    while (!page_order_.empty() &&
           (page_bytes_ > max_page_bytes_ || page_order_.size() > 2 * pages.size() + 64)) {
      const auto [key, sequence] = std::move(page_order_.front());
      page_order_.pop_front();
      const auto it = pages.find(key);
      if (it == pages.end() || it->second.sequence != sequence) continue;
      if (page_bytes_ > max_page_bytes_) {
        Erase(Table::kPages, key);
      } else {
        page_order_.emplace_back(key, sequence);
      }
    }
  }

  const uint64_t max_page_bytes_;
  Mutex mu_;
  std::array<Entries, kTableCount> tables_ ABSL_GUARDED_BY(mu_);
  std::deque<std::pair<std::string, uint64_t>> page_order_ ABSL_GUARDED_BY(mu_);  // oldest first
  uint64_t page_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t total_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace

std::unique_ptr<KeyValue> MakeMemoryKeyValue(uint64_t max_page_bytes) {
  return std::make_unique<MemoryKeyValue>(max_page_bytes);
}

}  // namespace lckv
