#include "cache/transport/grpc_page_transport.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "rpc/outgoing_trace.h"
#include "rpc/status_conversion.h"

namespace lckv {
namespace {

absl::Status Broken(absl::string_view what) {
  return absl::InternalError(absl::StrCat("ReadPages: ", what));
}

// Where the pages of one Read go, and how much of each is there.
class Destinations {
 public:
  // INVALID_ARGUMENT: a page twice.
  absl::Status Add(const PageRead& page) {
    if (!targets_.emplace(page.extent_index, Target{&page, 0}).second) {
      return absl::InvalidArgumentError(absl::StrCat("page ", page.extent_index, " twice"));
    }
    return absl::OkStatus();
  }

  absl::Status Take(const v1::ReadPagesResponse& chunk) {
    const auto it = targets_.find(chunk.page());
    if (it == targets_.end()) return Broken(absl::StrCat("page ", chunk.page(), " not asked for"));
    Target& target = it->second;
    const std::string& data = chunk.data();
    if (chunk.offset() != target.filled_bytes) return Broken("bytes out of order");
    if (data.size() > target.page->extent.length_bytes - target.filled_bytes) {
      return Broken("more bytes than the page has");
    }
    if (data.empty()) return absl::OkStatus();
    std::memcpy(static_cast<char*>(target.page->data) + target.filled_bytes, data.data(),
                data.size());
    target.filled_bytes += data.size();
    return absl::OkStatus();
  }

  absl::Status CheckComplete() const {
    for (const auto& [index, target] : targets_) {
      if (target.filled_bytes != target.page->extent.length_bytes) {
        return Broken(absl::StrCat("page ", index, " is not complete"));
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Target {
    const PageRead* page;
    uint64_t filled_bytes;
  };
  std::unordered_map<uint32_t, Target> targets_;
};

class GrpcPageTransport final : public PageTransport {
 public:
  explicit GrpcPageTransport(v1::Cache::StubInterface* stub) : stub_(stub) {}

  absl::Status Write(uint64_t reservation, absl::Span<const PageWrite> pages,
                     absl::Time deadline) override {
    if (pages.empty()) return absl::OkStatus();
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    AddOutgoingTrace(context);
    v1::WritePagesResponse response;
    const auto stream = stub_->WritePages(&context, &response);
    const bool sent = SendPages(*stream, reservation, pages);
    if (sent) stream->WritesDone();
    // A stream that broke says why here.
    LCKV_RETURN_IF_ERROR(FromGrpcStatus(stream->Finish()));
    uint64_t bytes = 0;
    for (const PageWrite& page : pages) bytes += page.extent.length_bytes;
    if (!sent || response.bytes() != bytes) {
      return absl::InternalError(
          absl::StrCat("WritePages: the peer took ", response.bytes(), " of ", bytes, " bytes"));
    }
    return absl::OkStatus();
  }

  absl::Status Read(uint64_t read_lease, absl::Span<const PageRead> pages,
                    absl::Time deadline) override {
    if (pages.empty()) return absl::OkStatus();
    Destinations destinations;
    v1::ReadPagesRequest request;
    request.set_read_lease(read_lease);
    for (const PageRead& page : pages) {
      LCKV_RETURN_IF_ERROR(destinations.Add(page));
      request.add_pages(page.extent_index);
    }
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    AddOutgoingTrace(context);
    const auto stream = stub_->ReadPages(&context, request);
    absl::Status taken;
    for (v1::ReadPagesResponse chunk; taken.ok() && stream->Read(&chunk);) {
      taken = destinations.Take(chunk);
    }
    if (!taken.ok()) context.TryCancel();
    const absl::Status finished = FromGrpcStatus(stream->Finish());
    LCKV_RETURN_IF_ERROR(taken);
    LCKV_RETURN_IF_ERROR(finished);
    return destinations.CheckComplete();
  }

 private:
  // False: the stream broke.
  static bool SendPages(grpc::ClientWriterInterface<v1::WritePagesRequest>& stream,
                        uint64_t reservation, absl::Span<const PageWrite> pages) {
    v1::WritePagesRequest chunk;
    chunk.set_reservation(reservation);
    for (const PageWrite& page : pages) {
      const char* data = static_cast<const char*>(page.data);
      for (uint64_t offset = 0; offset < page.extent.length_bytes;) {
        const uint64_t size = std::min<uint64_t>(kMaxChunkBytes, page.extent.length_bytes - offset);
        chunk.set_extent(page.extent_index);
        chunk.set_offset(offset);
        chunk.set_data(data + offset, size);
        if (!stream.Write(chunk)) return false;
        chunk.set_reservation(0);
        offset += size;
      }
    }
    return true;
  }

  v1::Cache::StubInterface* const stub_;
};

}  // namespace

std::unique_ptr<PageTransport> MakeGrpcPageTransport(v1::Cache::StubInterface* stub) {
  return std::make_unique<GrpcPageTransport>(stub);
}

}  // namespace lckv
