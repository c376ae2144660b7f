#include "services/cache_node/page_streams.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cache/transport/grpc_page_transport.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/channel.h"
#include "rpc/status_conversion.h"
#include "tests/services/cache_node/cache_node_fixture.h"

namespace lckv {
namespace {

using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

// The page streams as a client with bad manners uses them.
class PageStreamsTest : public CacheNodeFixture {
 protected:
  void SetUp() override {
    options_.grace = absl::Minutes(1);
    CacheNodeFixture::SetUp();
    stub_ = v1::Cache::NewStub(MakeChannel(node_->server().address()));
  }

  struct WriteStream {
    grpc::ClientContext context;
    v1::WritePagesResponse response;
    std::unique_ptr<grpc::ClientWriter<v1::WritePagesRequest>> writer;
  };
  std::unique_ptr<WriteStream> OpenWrite() {
    auto stream = std::make_unique<WriteStream>();
    stream->context.set_deadline(absl::ToChronoTime(Deadline()));
    stream->writer = stub_->WritePages(&stream->context, &stream->response);
    return stream;
  }

  static v1::WritePagesRequest Chunk(uint64_t reservation, uint32_t extent, uint64_t offset,
                                     size_t size) {
    v1::WritePagesRequest chunk;
    chunk.set_reservation(reservation);
    chunk.set_extent(extent);
    chunk.set_offset(offset);
    chunk.set_data(std::string(size, 'x'));
    return chunk;
  }

  // What a stream of these chunks ends with.
  absl::Status Send(const std::vector<v1::WritePagesRequest>& chunks) {
    const auto stream = OpenWrite();
    for (const v1::WritePagesRequest& chunk : chunks) {
      if (!stream->writer->Write(chunk)) break;
    }
    stream->writer->WritesDone();
    return FromGrpcStatus(stream->writer->Finish());
  }

  uint64_t Reserve(uint32_t pages, uint64_t page_bytes = kTestPageBytes) {
    const absl::StatusOr<v1::AcquireResponse> acquired =
        client_->Acquire(AcquireRequest(), Deadline());
    EXPECT_OK(acquired);
    const absl::StatusOr<v1::ReserveResponse> reserved =
        client_->Reserve(ReserveRequest(acquired->epoch(), pages, page_bytes), Deadline());
    EXPECT_OK(reserved);
    return reserved->reservation();
  }

  // Reads to the end: the bytes that came, and how it ended.
  std::pair<uint64_t, absl::Status> Read(uint64_t lease, const std::vector<uint32_t>& pages) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Deadline()));
    v1::ReadPagesRequest request;
    request.set_read_lease(lease);
    for (uint32_t page : pages) request.add_pages(page);
    const auto reader = stub_->ReadPages(&context, request);
    uint64_t bytes = 0;
    for (v1::ReadPagesResponse chunk; reader->Read(&chunk);) bytes += chunk.data().size();
    return {bytes, FromGrpcStatus(reader->Finish())};
  }

  std::unique_ptr<v1::Cache::Stub> stub_;
};

TEST_F(PageStreamsTest, WritesOutsideTheReservationAreRefused) {
  const uint64_t id = Reserve(2);
  EXPECT_OK(Send({Chunk(id, 0, 0, 10), Chunk(0, 1, kTestPageBytes - 10, 10)}));
  EXPECT_OK(Send({}));
  const auto invalid = [&](const v1::WritePagesRequest& chunk, const char* what) {
    EXPECT_THAT(Send({chunk}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  invalid(Chunk(id, 2, 0, 10), "extent 2");
  invalid(Chunk(id, 1, kTestPageBytes - 9, 10), "10 bytes at 8183");
  invalid(Chunk(id, 1, ~uint64_t{0}, 10), "10 bytes at");
  invalid(Chunk(id, 1, 0, 0), "0 bytes");
  invalid(Chunk(id, 1, 0, kMaxChunkBytes + 1), "1048577 bytes");
}

TEST_F(PageStreamsTest, UnknownHandlesAreNotFound) {
  const uint64_t id = Reserve(1);
  EXPECT_THAT(Send({Chunk(id + 1000, 0, 0, 10)}), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Send({Chunk(0, 0, 0, 10)}), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Read(id, {}).second, StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(PageStreamsTest, AReservationThatEndsMidStreamIsNotFound) {
  const uint64_t id = Reserve(1);
  const auto stream = OpenWrite();
  ASSERT_TRUE(stream->writer->Write(Chunk(id, 0, 0, 10)));
  v1::ReleaseRequest release;
  release.set_reservation(id);
  ASSERT_OK(client_->Release(release, Deadline()));
  while (stream->writer->Write(Chunk(0, 0, 10, 10))) {
  }
  EXPECT_THAT(FromGrpcStatus(stream->writer->Finish()), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(PageStreamsTest, ReadsWhatIsAskedFor) {
  ASSERT_OK(StoreSession(kTestPageBytes));
  ASSERT_OK_AND_ASSIGN(const v1::AcquireResponse acquired,
                       client_->Acquire(AcquireRequest(), Deadline()));
  const uint64_t lease = acquired.read_lease();
  const auto expect_bytes = [&](const std::vector<uint32_t>& pages, uint64_t bytes) {
    const auto [received, status] = Read(lease, pages);
    EXPECT_OK(status);
    EXPECT_EQ(received, bytes);
  };
  expect_bytes({}, 3 * kTestPageBytes);
  expect_bytes({1}, kTestPageBytes);
  expect_bytes({2, 0}, 2 * kTestPageBytes);
  EXPECT_THAT(Read(lease, {0, 3}).second, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Read(lease, {0, 0, 0, 0}).second, StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PageStreamsTest, StreamsNeedADeadline) {
  grpc::ClientContext context;
  v1::WritePagesResponse response;
  const auto writer = stub_->WritePages(&context, &response);
  EXPECT_THAT(FromGrpcStatus(writer->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("deadline")));
  grpc::ClientContext far_away;
  far_away.set_deadline(absl::ToChronoTime(absl::Now() + absl::Hours(1)));
  const auto reader = stub_->ReadPages(&far_away, v1::ReadPagesRequest());
  v1::ReadPagesResponse chunk;
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_THAT(FromGrpcStatus(reader->Finish()), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PageStreamsTest, StreamsAreBoundedAndCancelledOnesMakeRoom) {
  options_.max_page_streams = 4;
  StartNode();
  stub_ = v1::Cache::NewStub(MakeChannel(node_->server().address()));
  const uint64_t id = Reserve(1);
  std::vector<std::unique_ptr<WriteStream>> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(OpenWrite());
    ASSERT_TRUE(held.back()->writer->Write(Chunk(id, 0, 0, 10)));
  }
  // A stream's beginning is not acknowledged: try until all four have begun.
  absl::Status status;
  while (status.ok()) status = Send({Chunk(id, 0, 0, 10)});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  for (const auto& stream : held) {
    stream->context.TryCancel();
    EXPECT_THAT(FromGrpcStatus(stream->writer->Finish()), StatusIs(absl::StatusCode::kCancelled));
  }
  while (!status.ok()) status = Send({Chunk(id, 0, 0, 10)});
}

TEST_F(PageStreamsTest, ACancelledReadUnpins) {
  const uint64_t page_bytes = 4 << 20;
  ASSERT_OK(StoreSession(page_bytes));
  ASSERT_OK_AND_ASSIGN(const v1::AcquireResponse acquired,
                       client_->Acquire(AcquireRequest(), Deadline()));
  {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Deadline()));
    v1::ReadPagesRequest request;
    request.set_read_lease(acquired.read_lease());
    const auto reader = stub_->ReadPages(&context, request);
    v1::ReadPagesResponse chunk;
    ASSERT_TRUE(reader->Read(&chunk));
    context.TryCancel();
    EXPECT_THAT(FromGrpcStatus(reader->Finish()), StatusIs(absl::StatusCode::kCancelled));
  }
  v1::ReleaseRequest release;
  release.set_read_lease(acquired.read_lease());
  ASSERT_OK(client_->Release(release, Deadline()));
  // All four pages of the arena can be had again, once the stream has noticed.
  absl::Status status = absl::ResourceExhaustedError("not tried");
  while (absl::IsResourceExhausted(status)) {
    status = client_->Reserve(ReserveRequest(acquired.epoch(), 4, page_bytes), Deadline()).status();
  }
  EXPECT_OK(status);
}

TEST_F(PageStreamsTest, AStoppingNodeEndsOpenStreams) {
  const uint64_t id = Reserve(1);
  const auto stream = OpenWrite();
  ASSERT_TRUE(stream->writer->Write(Chunk(id, 0, 0, 10)));
  node_->server().Stop(absl::ZeroDuration(), [](absl::Time) {});
  EXPECT_FALSE(FromGrpcStatus(stream->writer->Finish()).ok());
}

// Longer than a server lingers by default: --grace counts.
TEST_F(PageStreamsTest, AStoppingNodeLetsOpenStreamsFinish) {
  const uint64_t id = Reserve(1);
  const auto stream = OpenWrite();
  ASSERT_TRUE(stream->writer->Write(Chunk(id, 0, 0, 10)));
  // Behind it on the same connection: answered when the stream has begun at the node.
  v1::StatRequest stat;
  stat.set_tenant("tenant");
  stat.set_session_id("s");
  grpc::ClientContext context;
  v1::StatResponse answer;
  ASSERT_OK(FromGrpcStatus(stub_->Stat(&context, stat, &answer)));
  std::thread stop([this] { node_->server().Stop(absl::Minutes(1), [](absl::Time) {}); });
  absl::SleepFor(2 * ServerOptions().linger);
  EXPECT_TRUE(stream->writer->Write(Chunk(0, 0, 10, 10)));
  EXPECT_TRUE(stream->writer->WritesDone());
  EXPECT_OK(FromGrpcStatus(stream->writer->Finish()));
  EXPECT_EQ(stream->response.bytes(), 20u);
  stop.join();
}

}  // namespace
}  // namespace lckv
