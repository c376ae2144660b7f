#include "cache/transport/grpc_page_transport.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/channel.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::PageBytes;
using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

// A peer that does what the test says.
class ScriptedPeer final : public v1::Cache::Service {
 public:
  grpc::Status WritePages(grpc::ServerContext*, grpc::ServerReader<v1::WritePagesRequest>* reader,
                          v1::WritePagesResponse* response) override {
    uint64_t bytes = 0;
    for (v1::WritePagesRequest chunk; reader->Read(&chunk);) {
      bytes += chunk.data().size();
      if (chunk.reservation() != 0) reservations.push_back(chunk.reservation());
      largest_chunk = std::max(largest_chunk, chunk.data().size());
      std::string& page = pages[chunk.extent()];
      if (page.size() != chunk.offset()) return {grpc::StatusCode::INTERNAL, "out of order"};
      page += chunk.data();
      if (!refuse_writes.ok()) return refuse_writes;
    }
    response->set_bytes(bytes - forget_bytes);
    return grpc::Status::OK;
  }

  grpc::Status ReadPages(grpc::ServerContext* context, const v1::ReadPagesRequest* request,
                         grpc::ServerWriter<v1::ReadPagesResponse>* writer) override {
    return read(*context, *request, *writer);
  }

  std::map<uint32_t, std::string> pages;
  std::vector<uint64_t> reservations;
  size_t largest_chunk = 0;
  uint64_t forget_bytes = 0;
  grpc::Status refuse_writes;
  std::function<grpc::Status(grpc::ServerContext&, const v1::ReadPagesRequest&,
                             grpc::ServerWriter<v1::ReadPagesResponse>&)>
      read;
};

class GrpcPageTransportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    ApplyServerSettings(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&peer_);
    server_ = builder.BuildAndStart();
    stub_ = v1::Cache::NewStub(MakeChannel(absl::StrCat("127.0.0.1:", port)));
    transport_ = MakeGrpcPageTransport(stub_.get());
  }
  void TearDown() override { server_->Shutdown(); }

  static absl::Time Deadline() { return absl::Now() + absl::Minutes(1); }
  static PageExtent Extent(uint64_t length) { return {0, 0, 0, length}; }

  // Reads two pages of 1000 bytes, numbers 3 and 5, from a peer that sends `chunks`.
  absl::Status ReadFrom(const std::vector<v1::ReadPagesResponse>& chunks) {
    peer_.read = [&](auto&, auto&, auto& writer) {
      for (const v1::ReadPagesResponse& chunk : chunks) writer.Write(chunk);
      return grpc::Status::OK;
    };
    std::string a(1000, '\0');
    std::string b(1000, '\0');
    const std::vector<PageRead> reads = {{3, Extent(1000), a.data()}, {5, Extent(1000), b.data()}};
    const absl::Status status = transport_->Read(1, reads, Deadline());
    if (status.ok()) {
      EXPECT_EQ(a, std::string(1000, 'a'));
      EXPECT_EQ(b, std::string(1000, 'b'));
    }
    return status;
  }
  static v1::ReadPagesResponse Chunk(uint32_t page, uint64_t offset, size_t size) {
    v1::ReadPagesResponse chunk;
    chunk.set_page(page);
    chunk.set_offset(offset);
    chunk.set_data(std::string(size, page == 3 ? 'a' : 'b'));
    return chunk;
  }

  ScriptedPeer peer_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Cache::Stub> stub_;
  std::unique_ptr<PageTransport> transport_;
};

TEST_F(GrpcPageTransportTest, WritesInChunks) {
  const std::string small = PageBytes(1, 4096);
  const std::string large = PageBytes(2, (5 << 20) / 2);
  ASSERT_OK(transport_->Write(
      77, {{0, Extent(small.size()), small.data()}, {1, Extent(large.size()), large.data()}},
      Deadline()));
  EXPECT_EQ(peer_.pages[0], small);
  EXPECT_EQ(peer_.pages[1], large);
  EXPECT_EQ(peer_.largest_chunk, kMaxChunkBytes);
  EXPECT_EQ(peer_.reservations, std::vector<uint64_t>{77});
}

TEST_F(GrpcPageTransportTest, NothingToDoIsDone) {
  EXPECT_OK(transport_->Write(77, {}, absl::InfinitePast()));
  EXPECT_OK(transport_->Read(77, {}, absl::InfinitePast()));
}

TEST_F(GrpcPageTransportTest, ARefusedWriteSaysWhy) {
  peer_.refuse_writes = {grpc::StatusCode::NOT_FOUND, "no such reservation"};
  const std::string page = PageBytes(2, 8 << 20);
  EXPECT_THAT(transport_->Write(77, {{0, Extent(page.size()), page.data()}}, Deadline()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such reservation")));
}

TEST_F(GrpcPageTransportTest, AWriteThatWasNotTakenIsAnError) {
  peer_.forget_bytes = 1;
  const std::string page = PageBytes(2);
  EXPECT_THAT(transport_->Write(77, {{0, Extent(page.size()), page.data()}}, Deadline()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("8191 of 8192")));
}

TEST_F(GrpcPageTransportTest, ReadsChunksOfAnyPageOrder) {
  EXPECT_OK(ReadFrom({Chunk(3, 0, 1000), Chunk(5, 0, 400), Chunk(5, 400, 600)}));
  EXPECT_OK(ReadFrom({Chunk(5, 0, 1), Chunk(3, 0, 999), Chunk(5, 1, 999), Chunk(3, 999, 1)}));
}

TEST_F(GrpcPageTransportTest, PeersThatBreakTheProtocolAreNoticed) {
  const struct {
    const char* what;
    std::vector<v1::ReadPagesResponse> chunks;
  } cases[] = {
      {"not asked for", {Chunk(4, 0, 10)}},
      {"out of order", {Chunk(3, 10, 10)}},
      {"out of order", {Chunk(3, 0, 10), Chunk(3, 0, 10)}},
      {"more bytes", {Chunk(3, 0, 1001)}},
      {"more bytes", {Chunk(3, 0, 1000), Chunk(3, 1000, 1)}},
      {"page 5 is not complete", {Chunk(3, 0, 1000), Chunk(5, 0, 999)}},
      {"is not complete", {}},
  };
  for (const auto& bad : cases) {
    EXPECT_THAT(ReadFrom(bad.chunks), StatusIs(absl::StatusCode::kInternal, HasSubstr(bad.what)));
  }
}

TEST_F(GrpcPageTransportTest, APageTwiceIsRefused) {
  std::string a(10, '\0');
  EXPECT_THAT(
      transport_->Read(1, {{3, Extent(10), a.data()}, {3, Extent(10), a.data()}}, Deadline()),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(GrpcPageTransportTest, DeadlinesEndCalls) {
  peer_.read = [](grpc::ServerContext& context, auto&, auto& writer) {
    // Ends when the client's deadline breaks the stream.
    while (!context.IsCancelled() && writer.Write(Chunk(3, 0, 0))) {
    }
    return grpc::Status::CANCELLED;
  };
  std::string a(10, '\0');
  EXPECT_THAT(
      transport_->Read(1, {{3, Extent(10), a.data()}}, absl::Now() + absl::Milliseconds(50)),
      StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(transport_->Write(1, {{3, Extent(10), a.data()}}, absl::Now() - absl::Seconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

}  // namespace
}  // namespace lckv
