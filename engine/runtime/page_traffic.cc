#include "engine/runtime/page_traffic.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

using Direction = PageCopier::Direction;

}  // namespace

absl::StatusOr<std::unique_ptr<PageTraffic>> PageTraffic::Create(Backend* backend,
                                                                 const PageLayout* layout,
                                                                 const Options& options) {
  std::unique_ptr<PageTraffic> traffic(new PageTraffic(backend, layout));
  if (backend->memory_is_host()) return traffic;
  LCKV_ASSIGN_OR_RETURN(traffic->copier_, backend->MakePageCopier({options.bytes_per_second}));
  const int64_t page_bytes = layout->page_bytes();
  // No more than a few sessions' worth: small models need no large staging.
  const int64_t pages =
      std::max<int64_t>(std::min(options.staging_bytes / page_bytes, 4 * options.most_pages), 2);
  LCKV_ASSIGN_OR_RETURN(traffic->check_addresses_,
                        backend->Allocate(kPagesOfCheck * sizeof(const void*)));
  LCKV_ASSIGN_OR_RETURN(traffic->check_sums_, backend->Allocate(kPagesOfCheck * sizeof(uint32_t)));
  PageCopier* const copier = traffic->copier_.get();
  LCKV_ASSIGN_OR_RETURN(traffic->staging_in_,
                        PageStaging::Create(backend, copier, Direction::kIn, page_bytes, pages));
  LCKV_ASSIGN_OR_RETURN(traffic->staging_out_,
                        PageStaging::Create(backend, copier, Direction::kOut, page_bytes, pages));
  return traffic;
}

absl::StatusOr<std::unique_ptr<PageImport>> PageTraffic::ReserveImport(StepLoop* loop,
                                                                       int64_t num_pages) {
  if (num_pages < 1) return absl::InvalidArgumentError("no pages to import");
  absl::StatusOr<std::vector<int32_t>> pages;
  PageCopier::Mark after = 0;
  loop->Run([&] {
    pages = loop->AllocatePages(num_pages);
    if (copier_ != nullptr) after = copier_->MarkCompute();
  });
  LCKV_RETURN_IF_ERROR(pages.status());
  return std::make_unique<PoolImport>(this, loop, *std::move(pages), after);
}

absl::StatusOr<SessionExport> PageTraffic::Export(StepLoop* loop, absl::string_view session,
                                                  int32_t first_page, int32_t max_pages) {
  absl::StatusOr<std::shared_ptr<PageHold>> hold;
  PageCopier::Mark after = 0;
  SessionExport exported;
  loop->Run([&] {
    hold = loop->Hold(session, first_page, max_pages);
    if (!hold.ok()) return;
    if (copier_ != nullptr) {
      after = copier_->MarkCompute();
      return;
    }
    for (const int32_t page : (*hold)->pages) {
      const uint8_t* const from = loop->PageAddress(page);
      exported.pages.emplace_back(from, from + page_bytes());
    }
    loop->Release(*hold);
  });
  LCKV_RETURN_IF_ERROR(hold.status());
  PageHold& held = **hold;
  if (copier_ != nullptr) {
    const absl::Status status = CopyOut(*loop, held, after, exported.pages);
    loop->Run([&] {
      if (!status.ok()) loop->Fail(status);
      loop->Release(*hold);
    });
    LCKV_RETURN_IF_ERROR(status);
  }
  exported.first_page = first_page;
  exported.transcript = std::move(held.transcript);
  int32_t& kv_tokens = exported.transcript.kv_tokens;
  kv_tokens = std::min(kv_tokens, held.intact_tokens);
  const int64_t whole = std::max<int64_t>(layout_->PagesFor(kv_tokens) - first_page, 0);
  if (whole < static_cast<int64_t>(exported.pages.size())) {
    exported.pages.resize(static_cast<size_t>(whole));
  }
  int64_t begin = int64_t{first_page} * layout_->tokens_per_page();
  for (std::vector<uint8_t>& page : exported.pages) {
    layout_->ZeroBeyond(std::min<int64_t>(layout_->tokens_per_page(), kv_tokens - begin),
                        page.data());
    begin += layout_->tokens_per_page();
  }
  return exported;
}

absl::Status PageTraffic::CopyOut(const StepLoop& loop, const PageHold& hold,
                                  PageCopier::Mark after,
                                  std::vector<std::vector<uint8_t>>& pages) {
  while (pages.size() < hold.pages.size()) {
    // Whoever has staging pages waits for nothing but copies.
    LCKV_ASSIGN_OR_RETURN(
        const std::vector<void*> staged,
        staging_out_->Acquire(static_cast<int64_t>(hold.pages.size() - pages.size()),
                              absl::InfiniteFuture()));
    const absl::Status status = CopyOutStaged(loop, hold, after, staged, pages);
    for (void* page : staged) staging_out_->Release(page);
    LCKV_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status PageTraffic::CopyOutStaged(const StepLoop& loop, const PageHold& hold,
                                        PageCopier::Mark after, const std::vector<void*>& staged,
                                        std::vector<std::vector<uint8_t>>& pages) {
  std::vector<PageCopier::Ticket> tickets;
  absl::Status status;
  for (size_t i = 0; i < staged.size() && status.ok(); ++i) {
    const absl::StatusOr<PageCopier::Ticket> ticket =
        copier_->Copy(Direction::kOut, staged[i], loop.PageAddress(hold.pages[pages.size() + i]),
                      page_bytes(), after);
    status = ticket.status();
    if (ticket.ok()) tickets.push_back(*ticket);
  }
  // What has been queued must be through before the staging pages are anyone else's.
  for (size_t i = 0; i < tickets.size(); ++i) {
    status.Update(copier_->Wait(Direction::kOut, tickets[i]));
    if (!status.ok()) continue;
    const auto* const from = static_cast<const uint8_t*>(staged[i]);
    pages.emplace_back(from, from + page_bytes());
  }
  return status;
}

absl::StatusOr<int64_t> PageTraffic::CountIntact(StepLoop& loop, absl::Span<const int32_t> pages,
                                                 absl::Span<const uint32_t> crc32c) {
  for (size_t begin = 0; begin < pages.size(); begin += kPagesOfCheck) {
    const absl::Span<const int32_t> some = pages.subspan(begin, kPagesOfCheck);
    std::array<uint32_t, kPagesOfCheck> sums;
    absl::Status status;
    loop.Run([&] { status = Checksums(loop, some, sums.data()); });
    LCKV_RETURN_IF_ERROR(status);
    const auto differs = std::mismatch(sums.begin(), sums.begin() + some.size(),
                                       crc32c.begin() + static_cast<std::ptrdiff_t>(begin));
    const auto intact = static_cast<size_t>(differs.first - sums.begin());
    if (intact < some.size()) return static_cast<int64_t>(begin + intact);
  }
  return static_cast<int64_t>(pages.size());
}

absl::Status PageTraffic::Checksums(const StepLoop& loop, absl::Span<const int32_t> pages,
                                    uint32_t* crc32c) {
  std::array<const void*, kPagesOfCheck> addresses;
  for (size_t i = 0; i < pages.size(); ++i) addresses[i] = loop.PageAddress(pages[i]);
  Crc32cParams params = {};
  params.pages = static_cast<const void* const*>(check_addresses_.data());
  params.page_bytes = layout_->page_bytes();
  params.rows = static_cast<int32_t>(pages.size());
  params.out = static_cast<uint32_t*>(check_sums_.data());
  backend_->CopyToDevice(check_addresses_.data(), addresses.data(), pages.size() * sizeof(void*));
  backend_->Crc32c(params);
  backend_->CopyToHost(crc32c, params.out, pages.size() * sizeof(uint32_t));
  return backend_->Synchronize();
}

PoolImport::~PoolImport() {
  GiveBackStaged();
  if (pages_.empty()) return;
  // Nothing may be on its way to the pages. (An error: nothing is any more.)
  if (!finished_ && traffic_->copier_ != nullptr) {
    traffic_->copier_->Wait(Direction::kIn, last_copy_).IgnoreError();
  }
  loop_->Run([this] { loop_->ReleasePages(pages_); });
}

void PoolImport::GiveBackStaged() {
  for (void* page : staged_) {
    if (traffic_->staging_in_ != nullptr) traffic_->staging_in_->Release(page);
  }
  staged_.clear();
}

absl::StatusOr<absl::Span<void* const>> PoolImport::Stage(int64_t max_pages, absl::Time deadline) {
  LCKV_CHECK(!finished_ && landed_ < size_ && max_pages > 0);
  if (staged_.empty()) {
    max_pages = std::min(max_pages, static_cast<int64_t>(size_ - landed_));
    if (traffic_->staging_in_ == nullptr) {
      for (int64_t i = 0; i < max_pages; ++i) {
        staged_.push_back(loop_->PageAddress(pages_[landed_ + static_cast<size_t>(i)]));
      }
    } else {
      LCKV_ASSIGN_OR_RETURN(staged_, traffic_->staging_in_->Acquire(max_pages, deadline));
    }
  }
  return absl::Span<void* const>(staged_).first(
      std::min(staged_.size(), static_cast<size_t>(max_pages)));
}

absl::Status PoolImport::Landed(absl::Span<const uint32_t> crc32c) {
  LCKV_CHECK(!finished_ && crc32c.size() <= staged_.size());
  absl::Status status;
  size_t taken = 0;
  while (taken < crc32c.size() && status.ok()) {
    if (traffic_->copier_ == nullptr &&
        Crc32c(staged_[taken], traffic_->page_bytes()) != crc32c[taken]) {
      status = absl::DataLossError(absl::StrCat("checksum of page ", landed_, " differs"));
      break;
    }
    status = Land(staged_[taken], crc32c[taken]);
    ++taken;
  }
  staged_.erase(staged_.begin(), staged_.begin() + static_cast<std::ptrdiff_t>(taken));
  return status;
}

absl::Status PoolImport::Land(void* staged, uint32_t crc32c) {
  if (traffic_->copier_ != nullptr) {
    const absl::StatusOr<PageCopier::Ticket> ticket =
        traffic_->copier_->Copy(Direction::kIn, loop_->PageAddress(pages_[landed_]), staged,
                                traffic_->page_bytes(), after_);
    if (!ticket.ok()) {
      traffic_->staging_in_->Release(staged);
      loop_->Run([&] { loop_->Fail(ticket.status()); });
      return ticket.status();
    }
    last_copy_ = *ticket;
    traffic_->staging_in_->ReleaseAfter(staged, *ticket);
  }
  crc32c_.push_back(crc32c);
  ++landed_;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> PoolImport::Finish() {
  GiveBackStaged();
  if (finished_) return intact_;
  absl::StatusOr<int64_t> intact = landed();
  if (traffic_->copier_ != nullptr) {
    const absl::Status status = traffic_->copier_->Wait(Direction::kIn, last_copy_);
    intact = status.ok() ? traffic_->CountIntact(*loop_, absl::MakeConstSpan(pages_).first(landed_),
                                                 crc32c_)
                         : status;
  }
  if (!intact.ok()) {
    loop_->Run([&] { loop_->Fail(intact.status()); });
    return intact;
  }
  finished_ = true;
  intact_ = *intact;
  return intact_;
}

std::vector<int32_t>& PoolImport::KeepFirst(int64_t count) {
  LCKV_CHECK(finished_ && count <= intact_);
  for (; static_cast<int64_t>(pages_.size()) > count; pages_.pop_back()) {
    loop_->ReleasePages({pages_.back()});
  }
  return pages_;
}

}  // namespace lckv
