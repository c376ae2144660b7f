#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/runtime/engine.h"

namespace lckv {

// Sets the pool's size in `options` from what users write: "auto", a share such as "85%", or a size
// such as "4GiB". INVALID_ARGUMENT, and nothing set, for anything else.
absl::Status SetKvMemory(absl::string_view text, EngineOptions* options);
// The same, for people: "auto", "85%", "4 GiB".
std::string DescribeKvMemory(const EngineOptions& options);

// Pages of the pool. `free_bytes`: what the device has free when all else is allocated; nothing
// where it does not say. INVALID_ARGUMENT: less than a page, or a share where free_bytes is
// missing. RESOURCE_EXHAUSTED: a share that does not hold one context of `context_pages` (a size
// may: then such turns are refused), or a size over what is free.
absl::StatusOr<int64_t> PlanKvPages(const EngineOptions& options,
                                    const std::optional<int64_t>& free_bytes, int64_t page_bytes,
                                    int64_t context_pages);

}  // namespace lckv
