#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "cache/client/grpc_cache_client.h"
#include "services/cache_node/cache_node.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv {

// A cache node on a free port, and a client of it.
class CacheNodeFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.metrics_listen = "";
    options_.arena_bytes = 16 << 20;
    StartNode();
  }

  // A node with options_ as they are now; the one before is gone first.
  void StartNode() {
    client_.reset();
    node_.reset();
    ASSERT_OK_AND_ASSIGN(node_, CacheNode::Start(options_));
    node_->server().SetReady(true);
    client_ = MakeGrpcCacheClient({node_->server().address()});
  }

  static absl::Time Deadline() { return absl::Now() + absl::Minutes(1); }

  static v1::AcquireRequest AcquireRequest(const std::string& worker = "w1") {
    v1::AcquireRequest request;
    request.set_tenant("tenant");
    request.set_session_id("s");
    request.set_worker_id(worker);
    request.set_create(true);
    request.set_want_pages(true);
    return request;
  }

  v1::ReserveRequest ReserveRequest(uint64_t epoch, uint32_t pages, uint64_t page_bytes) {
    v1::ReserveRequest request;
    request.set_tenant("tenant");
    request.set_session_id("s");
    request.set_epoch(epoch);
    request.set_pages(pages);
    request.set_page_bytes(page_bytes);
    return request;
  }

  // Acquires, writes and commits version 1 of session "s": 40 tokens, three pages of `page_bytes`.
  // The commit's result; the epoch goes to epoch_.
  absl::StatusOr<v1::CommitResponse> StoreSession(uint64_t page_bytes) {
    LCKV_ASSIGN_OR_RETURN(const v1::AcquireResponse acquired,
                          client_->Acquire(AcquireRequest(), Deadline()));
    epoch_ = acquired.epoch();
    LCKV_ASSIGN_OR_RETURN(const v1::ReserveResponse reserved,
                          client_->Reserve(ReserveRequest(epoch_, 3, page_bytes), Deadline()));
    v1::CommitRequest commit;
    *commit.mutable_manifest() = testing::MakeManifest("s", 40, 40);
    commit.mutable_manifest()->set_page_bytes(page_bytes);
    commit.mutable_manifest()->set_version(1);
    commit.mutable_manifest()->set_epoch(epoch_);
    commit.set_reservation(reserved.reservation());
    commit.set_sync(true);
    std::vector<std::string> bytes;
    std::vector<PageWrite> writes;
    for (uint32_t i = 0; i < 3; ++i) bytes.push_back(testing::PageBytes(i, page_bytes));
    for (uint32_t i = 0; i < 3; ++i) {
      const v1::Extent& extent = reserved.extents(static_cast<int>(i));
      writes.push_back({i,
                        {extent.region(), extent.generation(), extent.offset(), extent.length()},
                        bytes[i].data()});
      commit.mutable_manifest()
          ->mutable_pages(static_cast<int>(i))
          ->set_crc32c(testing::CrcOf(bytes[i]));
      commit.add_page_positions(i);
    }
    LCKV_RETURN_IF_ERROR(client_->transport().Write(reserved.reservation(), writes, Deadline()));
    return client_->Commit(commit, Deadline());
  }

  // Acquires session "s" and compares its pages with those of StoreSession.
  void ExpectPages(uint64_t page_bytes) {
    v1::AcquireRequest request = AcquireRequest("reader");
    request.set_takeover(true);
    ASSERT_OK_AND_ASSIGN(const v1::AcquireResponse acquired, client_->Acquire(request, Deadline()));
    ASSERT_EQ(acquired.extents_size(), 3);
    std::vector<std::string> bytes(3, std::string(page_bytes, '\0'));
    std::vector<PageRead> reads;
    for (uint32_t i = 0; i < 3; ++i) {
      const uint64_t length = acquired.extents(static_cast<int>(i)).length();
      ASSERT_EQ(length, page_bytes);
      reads.push_back({i, {0, 0, 0, length}, bytes[i].data()});
    }
    ASSERT_OK(client_->transport().Read(acquired.read_lease(), reads, Deadline()));
    for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(bytes[i], testing::PageBytes(i, page_bytes)) << i;
  }

  CacheNodeOptions options_;
  std::unique_ptr<CacheNode> node_;
  std::unique_ptr<CacheClient> client_;
  uint64_t epoch_ = 0;
};

}  // namespace lckv
