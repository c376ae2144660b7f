#include "engine/runtime/kv_memory.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace lckv {

absl::Status SetKvMemory(absl::string_view text, EngineOptions* options) {
  if (text == "auto") {
    options->kv_memory = KvMemory::kAuto;
    return absl::OkStatus();
  }
  if (absl::EndsWith(text, "%")) {
    double percent = 0;
    if (!absl::SimpleAtod(absl::StripSuffix(text, "%"), &percent) ||
        !(percent > 0 && percent <= 100)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\": want a share over 0% and up to 100%"));
    }
    options->kv_memory = KvMemory::kShare;
    options->kv_memory_share = percent / 100;
    return absl::OkStatus();
  }
  LCKV_ASSIGN_OR_RETURN(options->kv_memory_bytes, ParseBytes(text));
  options->kv_memory = KvMemory::kBytes;
  return absl::OkStatus();
}

std::string DescribeKvMemory(const EngineOptions& options) {
  if (options.kv_memory == KvMemory::kBytes) return FormatBytes(options.kv_memory_bytes);
  if (options.kv_memory == KvMemory::kAuto) return "auto";
  return absl::StrCat(options.kv_memory_share * 100, "%");
}

absl::StatusOr<int64_t> PlanKvPages(const EngineOptions& options,
                                    const std::optional<int64_t>& free_bytes, int64_t page_bytes,
                                    int64_t context_pages) {
  if (options.kv_memory == KvMemory::kShare && !free_bytes.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "KV memory of ", DescribeKvMemory(options),
        ": this device does not say how much memory is free; want a size such as 4GiB"));
  }
  const bool share = options.kv_memory != KvMemory::kBytes && free_bytes.has_value();
  const int64_t bytes =
      share ? static_cast<int64_t>(options.kv_memory_share * static_cast<double>(*free_bytes))
            : options.kv_memory_bytes;
  const int64_t pages = std::min<int64_t>(bytes / page_bytes, INT32_MAX);
  if (share && pages < context_pages) {
    return absl::ResourceExhaustedError(
        absl::StrCat("KV memory of ", FormatBytes(bytes), " (", options.kv_memory_share * 100,
                     "% of ", FormatBytes(*free_bytes),
                     " that the device has free beside the weights), but one context "
                     "needs ",
                     FormatBytes(context_pages * page_bytes), ": want a shorter one"));
  }
  if (!share && (pages < 1 || bytes / page_bytes > INT32_MAX)) {
    return absl::InvalidArgumentError(absl::StrCat("KV memory of ", FormatBytes(bytes),
                                                   " for pages of ", FormatBytes(page_bytes)));
  }
  if (!share && free_bytes.has_value() && bytes > *free_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("KV memory of ", FormatBytes(bytes), ", but the device has ",
                     FormatBytes(*free_bytes), " free beside the weights"));
  }
  return pages;
}

}  // namespace lckv
