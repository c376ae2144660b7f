#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// The envelope around everything small that the cache node stores (cache/FORMAT.md): 16 bytes of
// header, then the payload.
//
//   magic[4]  version u16  zero u16  payload_bytes u32  crc32c u32     little-endian
//
// The checksum covers the header's first 12 bytes and the payload, so that a torn write and any
// flipped bit are noticed. The header is the same in all versions.
inline constexpr size_t kFrameHeaderBytes = 16;
inline constexpr uint16_t kFrameVersion = 1;
inline constexpr uint32_t kMaxFramePayloadBytes = 16u << 20;

// What a frame holds: four characters each. Reach the disk: never change.
inline constexpr char kSessionRecordMagic[] = "LCKS";
inline constexpr char kLeaseRecordMagic[] = "LCKL";
inline constexpr char kImageMagic[] = "LCKI";
inline constexpr char kEpochLimitMagic[] = "LCKE";

// REQUIRES: payload.size() <= kMaxFramePayloadBytes.
std::string EncodeFrame(absl::string_view magic, absl::string_view payload);

// The payload (a view into `bytes`) of the frame at the beginning of `bytes`; what follows it is
// the caller's business. DATA_LOSS: cut off, damaged, or another magic. UNIMPLEMENTED: whole, but
// of another version.
absl::StatusOr<absl::string_view> DecodeFramePrefix(absl::string_view magic,
                                                    absl::string_view bytes);
// As DecodeFramePrefix; bytes after the frame are DATA_LOSS.
absl::StatusOr<absl::string_view> DecodeFrame(absl::string_view magic, absl::string_view bytes);

// The size of the frame whose header `header` begins with, once its magic and length are plausible;
// DATA_LOSS otherwise.
absl::StatusOr<uint64_t> FrameBytes(absl::string_view magic, absl::string_view header);

}  // namespace lckv
