#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// The stored form of a session: its manifest in a frame (cache/FORMAT.md).
// INVALID_ARGUMENT: the manifest is not consistent, or larger than a frame.
absl::StatusOr<std::string> EncodeSessionRecord(const v1::Manifest& manifest);

// DATA_LOSS: cut off, damaged or not consistent. UNIMPLEMENTED: whole, but of a format version that
// this build does not read.
absl::StatusOr<v1::Manifest> DecodeSessionRecord(absl::string_view bytes);

// The manifest in the payload of a frame, checked as above.
absl::StatusOr<v1::Manifest> ParseManifest(absl::string_view payload);

}  // namespace lckv
