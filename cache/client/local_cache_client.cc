#include "cache/client/local_cache_client.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

absl::Status CheckDeadline(absl::Time deadline) {
  return absl::Now() < deadline ? absl::OkStatus() : absl::DeadlineExceededError("deadline passed");
}

class LocalCacheClient final : public CacheClient, public PageTransport {
 public:
  explicit LocalCacheClient(CacheCore* core) : core_(core) {}

  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request,
                                              absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Acquire(request);
  }
  absl::Status Renew(const v1::RenewRequest& request, absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Renew(request);
  }
  absl::StatusOr<v1::ReserveResponse> Reserve(const v1::ReserveRequest& request,
                                              absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Reserve(request);
  }
  absl::StatusOr<v1::CommitResponse> Commit(const v1::CommitRequest& request,
                                            absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Commit(request);
  }
  absl::Status Release(const v1::ReleaseRequest& request, absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Release(request);
  }
  absl::Status Touch(const v1::TouchRequest& request, absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Touch(request);
  }
  absl::Status Delete(const v1::DeleteRequest& request, absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Delete(request);
  }
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request,
                                        absl::Time deadline) override {
    LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
    return core_->Stat(request);
  }
  PageTransport& transport() override { return *this; }

  absl::Status Write(uint64_t reservation, absl::Span<const PageWrite> pages,
                     absl::Time deadline) override {
    for (const PageWrite& page : pages) {
      LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
      LCKV_RETURN_IF_ERROR(core_->WriteChunk(
          reservation, page.extent_index, 0,
          {static_cast<const char*>(page.data), static_cast<size_t>(page.extent.length_bytes)}));
    }
    return absl::OkStatus();
  }
  absl::Status Read(uint64_t read_lease, absl::Span<const PageRead> pages,
                    absl::Time deadline) override {
    for (const PageRead& page : pages) {
      LCKV_RETURN_IF_ERROR(CheckDeadline(deadline));
      LCKV_ASSIGN_OR_RETURN(const PinnedPage pinned, core_->PinPage(read_lease, page.extent_index));
      const absl::Span<const char> bytes = pinned->bytes();
      if (bytes.size() != page.extent.length_bytes) {
        return absl::InvalidArgumentError(
            absl::StrCat("page ", page.extent_index, " has ", bytes.size(), " bytes"));
      }
      std::memcpy(page.data, bytes.data(), bytes.size());
    }
    return absl::OkStatus();
  }

 private:
  CacheCore* const core_;
};

}  // namespace

std::unique_ptr<CacheClient> MakeLocalCacheClient(CacheCore* core) {
  return std::make_unique<LocalCacheClient>(core);
}

}  // namespace lckv
