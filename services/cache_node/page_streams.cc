#include "services/cache_node/page_streams.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "cache/transport/grpc_page_transport.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/status_conversion.h"

namespace lckv {
namespace {

constexpr absl::Duration kMaxStreamTime = absl::Minutes(10);
constexpr absl::Duration kRetryAfterFull = absl::Seconds(1);

// Counts one stream from its beginning to its end.
class StreamSlot {
 public:
  StreamSlot(PageStreams* streams, const grpc::ServerContextBase& context, absl::string_view method,
             CacheMetrics::Direction direction)
      : streams_(streams),
        method_(method),
        direction_(direction),
        begin_(absl::Now()),
        span_(streams->tracer->Continue(context).StartCall(
            SpanKind::kServer, v1::Cache::service_full_name(), method, begin_)) {
    open_ = ++streams_->open_streams;
  }
  ~StreamSlot() { --streams_->open_streams; }
  StreamSlot(const StreamSlot&) = delete;
  StreamSlot& operator=(const StreamSlot&) = delete;

  absl::Status Admit(const grpc::ServerContextBase& context) const {
    if (open_ > streams_->max_streams) {
      return WithRetryAfter(absl::ResourceExhaustedError("too many page streams"), kRetryAfterFull);
    }
    if (absl::FromChrono(context.deadline()) > absl::Now() + kMaxStreamTime) {
      return absl::InvalidArgumentError(absl::StrCat(method_, ": want a deadline of at most ",
                                                     absl::FormatDuration(kMaxStreamTime)));
    }
    return absl::OkStatus();
  }

  // The stream ends.
  void Count(uint64_t bytes, const absl::Status& outcome) {
    streams_->metrics->OnTransfer(direction_, bytes, absl::Now() - begin_);
    streams_->metrics->OnCall(method_, outcome);
    span_.Set("lckv.transfer.bytes", bytes);
    span_.SetStatus(outcome);
    span_.End();
  }

 private:
  PageStreams* const streams_;
  const absl::string_view method_;
  const CacheMetrics::Direction direction_;
  const absl::Time begin_;
  Span span_;
  int open_ = 0;
};

class WritePagesReactor final : public grpc::ServerReadReactor<v1::WritePagesRequest> {
 public:
  WritePagesReactor(PageStreams* streams, const grpc::ServerContextBase& context,
                    v1::WritePagesResponse* response)
      : core_(streams->core),
        slot_(streams, context, "WritePages", CacheMetrics::Direction::kIn),
        response_(response) {
    if (absl::Status status = slot_.Admit(context); !status.ok()) {
      End(status);
    } else {
      StartRead(&chunk_);
    }
  }

  void OnReadDone(bool ok) override {
    // Not ok: the client has sent everything, or it is gone and nobody reads the status.
    if (!ok) return End(absl::OkStatus());
    if (absl::Status status = Take(); !status.ok()) return End(status);
    StartRead(&chunk_);
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Take() {
    if (chunk_.reservation() != 0) reservation_ = chunk_.reservation();
    const size_t size = chunk_.data().size();
    if (size == 0 || size > kMaxChunkBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("WritePages: data: ", size, " bytes, not 1 to ", kMaxChunkBytes));
    }
    LCKV_RETURN_IF_ERROR(
        core_->WriteChunk(reservation_, chunk_.extent(), chunk_.offset(), chunk_.data()));
    bytes_ += size;
    return absl::OkStatus();
  }

  void End(const absl::Status& status) {
    response_->set_bytes(bytes_);
    slot_.Count(bytes_, status);
    Finish(ToGrpcStatus(status));
  }

  CacheCore* const core_;
  StreamSlot slot_;
  v1::WritePagesResponse* const response_;
  v1::WritePagesRequest chunk_;
  uint64_t reservation_ = 0;
  uint64_t bytes_ = 0;
};

class ReadPagesReactor final : public grpc::ServerWriteReactor<v1::ReadPagesResponse> {
 public:
  ReadPagesReactor(PageStreams* streams, const grpc::ServerContextBase& context,
                   const v1::ReadPagesRequest& request)
      : core_(streams->core),
        slot_(streams, context, "ReadPages", CacheMetrics::Direction::kOut),
        read_lease_(request.read_lease()),
        positions_(request.pages().begin(), request.pages().end()) {
    absl::Status status = slot_.Admit(context);
    if (status.ok()) status = ChoosePages();
    if (status.ok()) {
      SendNext();
    } else {
      End(status);
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client is gone"));
    SendNext();
  }
  void OnDone() override { delete this; }

 private:
  absl::Status ChoosePages() {
    LCKV_ASSIGN_OR_RETURN(const uint32_t pages, core_->PageCount(read_lease_));
    if (positions_.size() > pages) {
      return absl::InvalidArgumentError(
          absl::StrCat("pages: ", positions_.size(), " of a read lease of ", pages));
    }
    if (!positions_.empty()) return absl::OkStatus();
    positions_.resize(pages);
    for (uint32_t i = 0; i < pages; ++i) positions_[i] = i;
    return absl::OkStatus();
  }

  void SendNext() {
    if (page_ == nullptr) {
      if (next_ == positions_.size()) return End(absl::OkStatus());
      absl::StatusOr<PinnedPage> page = core_->PinPage(read_lease_, positions_[next_]);
      if (!page.ok()) return End(page.status());
      page_ = *std::move(page);
      offset_ = 0;
    }
    const absl::Span<const char> bytes = page_->bytes();
    const size_t size = std::min<size_t>(kMaxChunkBytes, bytes.size() - offset_);
    chunk_.set_page(positions_[next_]);
    chunk_.set_offset(offset_);
    chunk_.set_data(bytes.data() + offset_, size);
    offset_ += size;
    bytes_ += size;
    if (offset_ == bytes.size()) {
      page_ = nullptr;
      ++next_;
    }
    StartWrite(&chunk_);
  }

  void End(const absl::Status& status) {
    page_ = nullptr;
    slot_.Count(bytes_, status);
    Finish(ToGrpcStatus(status));
  }

  CacheCore* const core_;
  StreamSlot slot_;
  const uint64_t read_lease_;
  std::vector<uint32_t> positions_;
  size_t next_ = 0;  // index into positions_ of the page being sent
  PinnedPage page_;  // that page; null between pages
  size_t offset_ = 0;
  v1::ReadPagesResponse chunk_;
  uint64_t bytes_ = 0;
};

}  // namespace

grpc::ServerReadReactor<v1::WritePagesRequest>* NewWritePages(
    PageStreams* streams, const grpc::ServerContextBase& context,
    v1::WritePagesResponse* response) {
  return new WritePagesReactor(streams, context, response);
}

grpc::ServerWriteReactor<v1::ReadPagesResponse>* NewReadPages(
    PageStreams* streams, const grpc::ServerContextBase& context,
    const v1::ReadPagesRequest& request) {
  return new ReadPagesReactor(streams, context, request);
}

}  // namespace lckv
