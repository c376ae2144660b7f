#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "cache/store/key_value.h"

namespace lckv {
namespace {

// Indexed by Table. The first must have this name: RocksDB's own.
constexpr std::array<const char*, kTableCount> kTableNames = {"default", "sessions", "leases",
                                                              "pages"};
constexpr uint64_t kMaxLogBytes = uint64_t{256} << 20;
constexpr uint64_t kMinBlobBytes = 4096;
constexpr uint64_t kBlobFileBytes = uint64_t{128} << 20;
constexpr size_t kInfoLogFiles = 3;
constexpr size_t kInfoLogBytes = 4u << 20;

rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }
absl::string_view FromSlice(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status FromRocksDb(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (status.IsNotFound()) return absl::NotFoundError("no such key");
  const std::string message = absl::StrCat("RocksDB: ", status.ToString());
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

rocksdb::ColumnFamilyOptions MakeTableOptions(Table table, const RocksDbOptions& options,
                                              const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions family;
  rocksdb::BlockBasedTableOptions blocks;
  blocks.block_cache = cache;
  blocks.cache_index_and_filter_blocks = true;
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(blocks));
  family.compression = rocksdb::kNoCompression;
  family.write_buffer_size = options.write_buffer_bytes;
  family.max_write_buffer_number = 2;
  if (table == Table::kPages) {
    // Compactions then move keys, not pages.
    family.enable_blob_files = true;
    family.min_blob_size = kMinBlobBytes;
    family.blob_file_size = kBlobFileBytes;
    family.blob_compression_type = rocksdb::kNoCompression;
    family.enable_blob_garbage_collection = true;
  }
  return family;
}

rocksdb::DBOptions MakeDbOptions(const RocksDbOptions& options) {
  rocksdb::DBOptions db;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.paranoid_checks = true;
  db.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // All tables reach the same point: a log cut short can then never leave one ahead of another.
  db.atomic_flush = true;
  db.db_write_buffer_size = options.write_buffer_bytes;
  db.max_total_wal_size = kMaxLogBytes;
  db.max_open_files = options.max_open_files;
  db.max_background_jobs = options.background_jobs;
  db.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  db.keep_log_file_num = kInfoLogFiles;
  db.max_log_file_size = kInfoLogBytes;
  return db;
}

class RocksDbKeyValue final : public KeyValue {
 public:
  RocksDbKeyValue(std::unique_ptr<rocksdb::DB> db,
                  std::array<rocksdb::ColumnFamilyHandle*, kTableCount> tables)
      : db_(std::move(db)), tables_(tables) {}

  ~RocksDbKeyValue() override {
    for (rocksdb::ColumnFamilyHandle* table : tables_) {
      LCKV_CHECK(db_->DestroyColumnFamilyHandle(table).ok());
    }
    if (const rocksdb::Status status = db_->Close(); !status.ok()) {
      LogError("store did not close", {{"error", status.ToString()}});
    }
  }

  absl::StatusOr<std::string> Get(Table table, absl::string_view key) override {
    std::string value;
    LCKV_RETURN_IF_ERROR(
        FromRocksDb(db_->Get(rocksdb::ReadOptions(), Handle(table), ToSlice(key), &value)));
    return value;
  }

  absl::Status GetInto(Table table, absl::string_view key, absl::Span<char> out) override {
    rocksdb::ReadOptions read;
    // Pages have their own cache, the arena.
    read.fill_cache = false;
    rocksdb::PinnableSlice value;
    LCKV_RETURN_IF_ERROR(FromRocksDb(db_->Get(read, Handle(table), ToSlice(key), &value)));
    if (value.size() != out.size()) return absl::DataLossError("value size differs");
    FromSlice(value).copy(out.data(), out.size());
    return absl::OkStatus();
  }

  absl::Status Write(const WriteBatch& batch, bool sync) override {
    rocksdb::WriteBatch writes;
    for (const WriteBatch::Change& change : batch.changes()) {
      rocksdb::ColumnFamilyHandle* table = Handle(change.table);
      LCKV_RETURN_IF_ERROR(FromRocksDb(
          change.is_delete ? writes.Delete(table, ToSlice(change.key))
                           : writes.Put(table, ToSlice(change.key), ToSlice(change.value))));
    }
    rocksdb::WriteOptions options;
    options.sync = sync;
    return FromRocksDb(db_->Write(options, &writes));
  }

  absl::Status Scan(
      Table table, absl::string_view prefix, absl::string_view after,
      const std::function<bool(absl::string_view, absl::string_view)>& visit) override {
    const std::unique_ptr<rocksdb::Iterator> it(
        db_->NewIterator(rocksdb::ReadOptions(), Handle(table)));
    it->Seek(ToSlice(after < prefix ? prefix : after));
    if (it->Valid() && after >= prefix && FromSlice(it->key()) == after) it->Next();
    for (; it->Valid() && it->key().starts_with(ToSlice(prefix)); it->Next()) {
      if (!visit(FromSlice(it->key()), FromSlice(it->value()))) break;
    }
    return FromRocksDb(it->status());
  }

  uint64_t ApproximateBytes() override {
    uint64_t total = 0;
    for (rocksdb::ColumnFamilyHandle* table : tables_) {
      for (const char* property : {"rocksdb.total-sst-files-size", "rocksdb.total-blob-file-size",
                                   "rocksdb.cur-size-all-mem-tables"}) {
        uint64_t bytes = 0;
        if (db_->GetIntProperty(table, property, &bytes)) total += bytes;
      }
    }
    return total;
  }

 private:
  rocksdb::ColumnFamilyHandle* Handle(Table table) { return tables_[static_cast<size_t>(table)]; }

  const std::unique_ptr<rocksdb::DB> db_;
  const std::array<rocksdb::ColumnFamilyHandle*, kTableCount> tables_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeyValue>> OpenRocksDbKeyValue(const std::string& directory,
                                                              const RocksDbOptions& options) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (int i = 0; i < kTableCount; ++i) {
    families.emplace_back(kTableNames[static_cast<size_t>(i)],
                          MakeTableOptions(static_cast<Table>(i), options, cache));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(MakeDbOptions(options), directory, families, &handles, &db);
  if (status.IsCorruption()) {
    return absl::DataLossError(absl::StrCat(directory, ": ", status.ToString()));
  }
  if (!status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(directory, ": ", status.ToString()));
  }
  std::array<rocksdb::ColumnFamilyHandle*, kTableCount> tables = {};
  for (size_t i = 0; i < tables.size(); ++i) tables[i] = handles[i];
  return std::make_unique<RocksDbKeyValue>(std::unique_ptr<rocksdb::DB>(db), tables);
}

}  // namespace lckv
