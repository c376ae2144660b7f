#include "engine/bench/held_sessions.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "base/crc32c.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

constexpr int32_t kPagesAtOnce = 64;
constexpr size_t kMaxImporters = 8;

// Numbers between 1/4 and 1 of either sign in bf16, f16 and f32 alike: sign, an exponent just below
// that of 1, random mantissa bits.
std::vector<uint8_t> MakePage(const PageLayout& layout) {
  std::vector<uint8_t> page(static_cast<size_t>(layout.page_bytes()));
  const size_t size = layout.dtype() == DType::kF32 ? 4 : 2;
  const bool half = layout.dtype() == DType::kF16;
  uint64_t state = 1;
  for (size_t i = 0; i + size <= page.size(); i += size) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto random = static_cast<uint32_t>(state >> 33);
    const uint32_t sign = (random & 1) << 15;
    const uint32_t high = half ? 0x3400 | (random >> 1 & 0x07FF) : 0x3E80 | (random >> 1 & 0x00FF);
    const uint32_t value = sign | high;
    page[i + size - 1] = static_cast<uint8_t>(value >> 8);
    page[i + size - 2] = static_cast<uint8_t>(value);
  }
  return page;
}

}  // namespace

HeldSessions::~HeldSessions() { Clear(); }

std::string HeldSessions::NameOf(size_t index) { return absl::StrCat("held-", index); }

absl::Status HeldSessions::Close(size_t index) {
  slots_[index] = {};
  return engine_->CloseSession(NameOf(index));
}

void HeldSessions::Clear() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].open) Close(i).IgnoreError();
  }
  slots_.clear();
}

absl::Status HeldSessions::Open(size_t index, int32_t tokens, PageTraffic& traffic) {
  SessionTranscript transcript;
  transcript.tokens =
      SyntheticTokens(tokens, engine_->config().vocab_size, static_cast<uint32_t>(index));
  transcript.segments = {{.tokens = tokens, .each_token = true}};
  transcript.kv_tokens = tokens;
  const int64_t pages = engine_->page_layout().PagesFor(tokens);
  absl::Time begin = absl::Now();
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<PageImport> import, engine_->ReserveImport(pages));
  absl::Duration spent = absl::Now() - begin;
  for (int64_t landed = 0; landed < pages;) {
    begin = absl::Now();
    LCKV_ASSIGN_OR_RETURN(const absl::Span<void* const> buffers,
                          import->Stage(kPagesAtOnce, absl::InfiniteFuture()));
    spent += absl::Now() - begin;
    for (void* const buffer : buffers) std::memcpy(buffer, page_.data(), page_.size());
    begin = absl::Now();
    LCKV_RETURN_IF_ERROR(import->Landed(std::vector<uint32_t>(buffers.size(), page_crc32c_)));
    spent += absl::Now() - begin;
    landed += static_cast<int64_t>(buffers.size());
  }
  begin = absl::Now();
  LCKV_RETURN_IF_ERROR(
      engine_->OpenSession(NameOf(index), {}, std::move(transcript), std::move(import)));
  spent += absl::Now() - begin;
  traffic.bytes += pages * engine_->page_layout().page_bytes();
  traffic.seconds += absl::ToDoubleSeconds(spent);
  slots_[index] = {true, tokens};
  return absl::OkStatus();
}

absl::Status HeldSessions::OpenMany(const std::vector<size_t>& indices, int32_t tokens) {
  std::atomic<size_t> next{0};
  Mutex mu;
  absl::Status status;
  PageTraffic total;
  const auto open = [&] {
    for (size_t i = next.fetch_add(1); i < indices.size(); i = next.fetch_add(1)) {
      PageTraffic traffic;
      const absl::Status opened = Open(indices[i], tokens, traffic);
      MutexLock lock(mu);
      status.Update(opened);
      total.bytes += traffic.bytes;
      if (!status.ok()) return;
    }
  };
  const absl::Time begin = absl::Now();
  std::vector<std::thread> importers;
  for (size_t i = 1; i < std::min(indices.size(), kMaxImporters); ++i) importers.emplace_back(open);
  open();
  for (std::thread& importer : importers) importer.join();
  imported_.bytes += total.bytes;
  imported_.seconds += absl::ToDoubleSeconds(absl::Now() - begin);
  return status;
}

absl::Status HeldSessions::Hold(int count, int32_t tokens) {
  if (page_.empty()) {
    page_ = MakePage(engine_->page_layout());
    page_crc32c_ = Crc32c(page_.data(), page_.size());
  }
  slots_.resize(std::max(slots_.size(), static_cast<size_t>(count)));
  std::vector<size_t> missing;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.open && slot.tokens > tokens) {
      LCKV_RETURN_IF_ERROR(engine_->Truncate(NameOf(i), tokens));
      slot.tokens = tokens;
    }
    if (i >= static_cast<size_t>(count) || (slot.open && slot.tokens == tokens)) continue;
    if (slot.open) LCKV_RETURN_IF_ERROR(Close(i));
    missing.push_back(i);
  }
  return OpenMany(missing, tokens);
}

absl::StatusOr<TurnTimes> HeldSessions::Decode(int count, int32_t steps) {
  std::vector<TurnRequest> turns;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    TurnRequest turn;
    turn.session = NameOf(i);
    turn.input = {1};
    turn.max_tokens = steps;
    turns.push_back(std::move(turn));
  }
  LCKV_ASSIGN_OR_RETURN(const TurnTimes times, RunTurns(*engine_, std::move(turns)));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    LCKV_RETURN_IF_ERROR(engine_->Truncate(NameOf(i), slots_[i].tokens));
  }
  return times;
}

absl::StatusOr<PageTraffic> HeldSessions::Export() {
  const auto pages = static_cast<int32_t>(engine_->page_layout().PagesFor(slots_[0].tokens));
  const absl::Time begin = absl::Now();
  PageTraffic traffic;
  for (int32_t first = 0; first < pages; first += kPagesAtOnce) {
    LCKV_ASSIGN_OR_RETURN(const SessionExport exported,
                          engine_->Export(NameOf(0), first, kPagesAtOnce));
    for (const auto& page : exported.pages) traffic.bytes += static_cast<int64_t>(page.size());
  }
  traffic.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  return traffic;
}

absl::StatusOr<PageTraffic> HeldSessions::Import() {
  const int32_t tokens = slots_[0].tokens;
  LCKV_RETURN_IF_ERROR(Close(0));
  PageTraffic traffic;
  LCKV_RETURN_IF_ERROR(Open(0, tokens, traffic));
  return traffic;
}

}  // namespace lckv
