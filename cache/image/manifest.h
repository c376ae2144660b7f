#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// A session image is a v1::Manifest and the pages that it lists (design section 6,
// cache/FORMAT.md).

// The manifest format that is written, and the oldest that is read.
inline constexpr uint32_t kManifestFormatVersion = 1;
inline constexpr uint32_t kOldestManifestFormatVersion = 1;

inline constexpr int kMaxSessionTokens = 1 << 20;
inline constexpr uint32_t kMinTokensPerPage = 16;  // and a multiple of it
inline constexpr uint32_t kMaxTokensPerPage = 4096;
inline constexpr uint64_t kPageAlignmentBytes = 4096;
inline constexpr uint64_t kMaxPageBytes = uint64_t{64} << 20;
inline constexpr uint32_t kMaxManifestPasses = 64;
inline constexpr size_t kFingerprintBytes = 32;
inline constexpr size_t kContentIdBytes = 32;
inline constexpr size_t kMaxNameBytes = 128;  // tenant, session id, worker id, turn id
inline constexpr size_t kMaxNumericsClassBytes = 256;

// OK: a positive multiple of 4 KiB, at most 64 MiB. INVALID_ARGUMENT otherwise.
absl::Status ValidatePageBytes(uint64_t page_bytes);

// OK: the session id is 1 to 128 of [A-Za-z0-9._-], the tenant at most 128 printable ASCII
// characters without spaces (it may be empty: a deployment without tenants). INVALID_ARGUMENT
// otherwise.
absl::Status ValidateSessionName(absl::string_view tenant, absl::string_view session_id);

// OK: 1 to 128 printable ASCII characters without spaces. INVALID_ARGUMENT names `field`.
absl::Status ValidateWorkerId(absl::string_view field, absl::string_view worker_id);

// Whether `manifest` is consistent in itself. Looks at nothing else; time is linear in its size.
//
// - names as above; 32-byte fingerprint (none while there are no tokens); bounded strings
// - token ids are not negative; at most 2^20; segments cover them exactly
// - committed_tokens and kv_tokens <= tokens; the last turn's input lies in the committed part
// - pages are numbered from 0, full except the last, and hold kv_tokens together; content ids only
//   on full pages. A CRC of 0 is a CRC like any other.
//
// UNIMPLEMENTED: a format version that this build does not read. INVALID_ARGUMENT names the field.
absl::Status ValidateManifest(const v1::Manifest& manifest);

// Drops pages[first_page] and those after it; kv_tokens becomes what the rest holds.
void TruncatePages(v1::Manifest& manifest, int first_page);

}  // namespace lckv
