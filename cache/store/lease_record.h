#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// What outlives a restart of a session's lease: its epoch and who it was given to ("" after a
// release). A frame around: epoch u64 little-endian, then the holder's bytes (cache/FORMAT.md).
struct LeaseRecord {
  uint64_t epoch = 0;
  std::string holder;
};

std::string EncodeLeaseRecord(const LeaseRecord& record);
// DATA_LOSS, UNIMPLEMENTED: as DecodeFrame.
absl::StatusOr<LeaseRecord> DecodeLeaseRecord(absl::string_view bytes);

// The node's epoch limit: every epoch given out so far is below it. A frame around a u64.
std::string EncodeEpochLimit(uint64_t limit);
absl::StatusOr<uint64_t> DecodeEpochLimit(absl::string_view bytes);

}  // namespace lckv
