#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lckv {

// The tables of the cache node's store; cache/FORMAT.md describes their keys and values. The
// numbers index arrays, the names reach the disk.
enum class Table { kMeta = 0, kSessions = 1, kLeases = 2, kPages = 3 };
inline constexpr int kTableCount = 4;

// Changes that happen all or not at all. Values are views: they must live until the batch is
// written.
class WriteBatch {
 public:
  struct Change {
    Table table;
    std::string key;
    absl::string_view value;
    bool is_delete;
  };

  void Put(Table table, std::string key, absl::string_view value) {
    changes_.push_back({table, std::move(key), value, false});
  }
  void Delete(Table table, std::string key) {
    changes_.push_back({table, std::move(key), {}, true});
  }
  const std::vector<Change>& changes() const { return changes_; }

 private:
  std::vector<Change> changes_;
};

// The ordered, atomic map under LocalSessionStore. Thread-safe.
// Errors: NOT_FOUND, DATA_LOSS (the store found damage), RESOURCE_EXHAUSTED (no space),
// UNAVAILABLE.
class KeyValue {
 public:
  virtual ~KeyValue() = default;

  virtual absl::StatusOr<std::string> Get(Table table, absl::string_view key) = 0;
  // Fills `out` with the value. DATA_LOSS when its size is another.
  virtual absl::Status GetInto(Table table, absl::string_view key, absl::Span<char> out) = 0;
  // Atomic. With `sync` it returns after the batch is on disk, and then every earlier batch is too.
  virtual absl::Status Write(const WriteBatch& batch, bool sync) = 0;
  // Visits the entries whose key starts with `prefix` and is after `after`, in key order, until
  // `visit` says false.
  virtual absl::Status Scan(
      Table table, absl::string_view prefix, absl::string_view after,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) = 0;
  // Bytes of storage in use, roughly.
  virtual uint64_t ApproximateBytes() = 0;
};

// A map in memory. Sync means nothing. Page values are a cache: beyond `max_page_bytes` the oldest
// are dropped (readers see NOT_FOUND); 0 keeps no pages at all.
std::unique_ptr<KeyValue> MakeMemoryKeyValue(uint64_t max_page_bytes);

struct RocksDbOptions {
  uint64_t block_cache_bytes = 32u << 20;
  // Larger: fewer, larger flushes; smaller: less memory. All tables together.
  uint64_t write_buffer_bytes = 64u << 20;
  int max_open_files = 512;
  int background_jobs = 2;
};

// A RocksDB in `directory`, made if there is none. Values of pages lie in blob files, uncompressed.
// After a crash the log is replayed up to the first damaged record: what was written with sync
// before it is there. FAILED_PRECONDITION: another process has it open, or it is not ours.
absl::StatusOr<std::unique_ptr<KeyValue>> OpenRocksDbKeyValue(const std::string& directory,
                                                              const RocksDbOptions& options);

}  // namespace lckv
