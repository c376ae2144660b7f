#include "cache/store/key_value.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

static std::atomic<int> file_syncs{0};

// In place of the C library's, RocksDB's calls included: does the same, and counts.
extern "C" int fdatasync(int fd) {
  ++file_syncs;
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using ::lckv::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

enum class Kind { kMemory, kRocksDb };

// The contract of KeyValue, on both implementations.
class KeyValueTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kMemory) {
      key_value_ = MakeMemoryKeyValue(1 << 20);
    } else {
      ASSERT_OK_AND_ASSIGN(key_value_, OpenRocksDbKeyValue(dir_.path(), RocksDbOptions()));
    }
  }

  void Put(Table table, const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.Put(table, key, value);
    ASSERT_OK(key_value_->Write(batch, false));
  }
  std::vector<std::string> Keys(const std::string& prefix, const std::string& after,
                                size_t limit = 100) {
    std::vector<std::string> keys;
    EXPECT_OK(key_value_->Scan(Table::kSessions, prefix, after,
                               [&](absl::string_view key, absl::string_view) {
                                 keys.emplace_back(key);
                                 return keys.size() < limit;
                               }));
    return keys;
  }

  TempDir dir_;
  std::unique_ptr<KeyValue> key_value_;
};

TEST_P(KeyValueTest, TablesAreSeparate) {
  Put(Table::kSessions, "k", "session");
  Put(Table::kPages, "k", "page");
  EXPECT_EQ(*key_value_->Get(Table::kSessions, "k"), "session");
  EXPECT_EQ(*key_value_->Get(Table::kPages, "k"), "page");
  EXPECT_THAT(key_value_->Get(Table::kLeases, "k"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(KeyValueTest, BatchesApplyInOrder) {
  WriteBatch batch;
  batch.Put(Table::kSessions, "a", "1");
  batch.Put(Table::kSessions, "a", "2");
  batch.Put(Table::kSessions, "b", "3");
  batch.Delete(Table::kSessions, "b");
  batch.Delete(Table::kSessions, "never there");
  ASSERT_OK(key_value_->Write(batch, true));
  EXPECT_EQ(*key_value_->Get(Table::kSessions, "a"), "2");
  EXPECT_THAT(key_value_->Get(Table::kSessions, "b"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(KeyValueTest, GetIntoWantsTheExactSize) {
  const std::string page = testing::PageBytes(1);
  Put(Table::kPages, "p", page);
  std::string out(page.size(), '\0');
  ASSERT_OK(key_value_->GetInto(Table::kPages, "p", absl::MakeSpan(out)));
  EXPECT_EQ(out, page);
  out.resize(page.size() - 1);
  EXPECT_THAT(key_value_->GetInto(Table::kPages, "p", absl::MakeSpan(out)),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(key_value_->GetInto(Table::kPages, "q", absl::MakeSpan(out)),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(KeyValueTest, ScanGoesThroughAPrefixInOrder) {
  for (const char* key : {"a", "b1", "b2", "b3", "c"}) Put(Table::kSessions, key, "v");
  EXPECT_THAT(Keys("b", ""), ElementsAre("b1", "b2", "b3"));
  EXPECT_THAT(Keys("b", "b1"), ElementsAre("b2", "b3"));
  EXPECT_THAT(Keys("b", "b11"), ElementsAre("b2", "b3"));
  EXPECT_THAT(Keys("b", "", 2), ElementsAre("b1", "b2"));
  EXPECT_THAT(Keys("b", "b3"), IsEmpty());
  EXPECT_THAT(Keys("b", "c"), IsEmpty());
  EXPECT_THAT(Keys("x", ""), IsEmpty());
  EXPECT_EQ(Keys("", "").size(), 5u);
}

INSTANTIATE_TEST_SUITE_P(Both, KeyValueTest, ::testing::Values(Kind::kMemory, Kind::kRocksDb));

TEST(MemoryKeyValue, DropsTheOldestPagesOverItsBound) {
  const auto key_value = MakeMemoryKeyValue(3000);
  const std::string page(1000, 'p');
  const auto put = [&](const std::string& key) {
    WriteBatch batch;
    batch.Put(Table::kPages, key, page);
    EXPECT_OK(key_value->Write(batch, false));
  };
  const auto has = [&](const std::string& key) { return key_value->Get(Table::kPages, key).ok(); };
  put("a");
  put("b");
  put("c");
  put("a");  // now the youngest
  put("d");
  EXPECT_TRUE(has("a"));
  EXPECT_FALSE(has("b"));
  EXPECT_TRUE(has("c"));
  EXPECT_TRUE(has("d"));
}

TEST(MemoryKeyValue, StaysBoundedWhenPagesComeAndGo) {
  const auto key_value = MakeMemoryKeyValue(5000);
  const std::string page(1000, 'p');
  for (int i = 0; i < 1000; ++i) {
    WriteBatch batch;
    batch.Put(Table::kPages, std::to_string(i), page);
    if (i > 0) batch.Delete(Table::kPages, std::to_string(i - 1));
    ASSERT_OK(key_value->Write(batch, false));
    ASSERT_EQ(key_value->ApproximateBytes(), 1000u);
    ASSERT_TRUE(key_value->Get(Table::kPages, std::to_string(i)).ok());
  }
}

TEST(RocksDbKeyValue, OneProcessAtATime) {
  TempDir dir;
  ASSERT_OK_AND_ASSIGN(const auto first, OpenRocksDbKeyValue(dir.path(), RocksDbOptions()));
  EXPECT_THAT(OpenRocksDbKeyValue(dir.path(), RocksDbOptions()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(RocksDbKeyValue, SyncedWritesReachTheDisk) {
  TempDir dir;
  ASSERT_OK_AND_ASSIGN(const auto key_value, OpenRocksDbKeyValue(dir.path(), RocksDbOptions()));
  WriteBatch batch;
  batch.Put(Table::kSessions, "k", "v");
  const int before = file_syncs;
  ASSERT_OK(key_value->Write(batch, false));
  EXPECT_EQ(file_syncs, before);
  ASSERT_OK(key_value->Write(batch, true));
  EXPECT_EQ(file_syncs, before + 1);
}

}  // namespace
}  // namespace lckv
