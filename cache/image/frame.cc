#include "cache/image/frame.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "cache/image/byte_order.h"

namespace lckv {
namespace {

constexpr size_t kMagicBytes = 4;
constexpr size_t kLengthOffset = 8;
constexpr size_t kCrcOffset = 12;

absl::Status Damaged(absl::string_view magic, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("frame ", magic, ": ", what));
}

uint32_t FrameCrc(absl::string_view header, absl::string_view payload) {
  return ExtendCrc32c(Crc32c(header.data(), kCrcOffset), payload.data(), payload.size());
}

}  // namespace

std::string EncodeFrame(absl::string_view magic, absl::string_view payload) {
  LCKV_CHECK(magic.size() == kMagicBytes);
  LCKV_CHECK(payload.size() <= kMaxFramePayloadBytes);
  std::string frame(magic);
  AppendLittleEndian<uint16_t>(frame, kFrameVersion);
  AppendLittleEndian<uint16_t>(frame, 0);
  AppendLittleEndian<uint32_t>(frame, static_cast<uint32_t>(payload.size()));
  AppendLittleEndian<uint32_t>(frame, FrameCrc(frame, payload));
  frame.append(payload.data(), payload.size());
  return frame;
}

absl::StatusOr<uint64_t> FrameBytes(absl::string_view magic, absl::string_view header) {
  if (header.size() < kFrameHeaderBytes) return Damaged(magic, "header cut off");
  if (header.substr(0, kMagicBytes) != magic) return Damaged(magic, "magic differs");
  const auto payload_bytes = LoadLittleEndian<uint32_t>(header.data() + kLengthOffset);
  if (payload_bytes > kMaxFramePayloadBytes) return Damaged(magic, "payload_bytes out of range");
  return kFrameHeaderBytes + uint64_t{payload_bytes};
}

absl::StatusOr<absl::string_view> DecodeFramePrefix(absl::string_view magic,
                                                    absl::string_view bytes) {
  LCKV_ASSIGN_OR_RETURN(const uint64_t frame_bytes, FrameBytes(magic, bytes));
  if (bytes.size() < frame_bytes) return Damaged(magic, "payload cut off");
  const absl::string_view payload =
      bytes.substr(kFrameHeaderBytes, frame_bytes - kFrameHeaderBytes);
  if (LoadLittleEndian<uint32_t>(bytes.data() + kCrcOffset) != FrameCrc(bytes, payload)) {
    return Damaged(magic, "checksum differs");
  }
  const auto version = LoadLittleEndian<uint16_t>(bytes.data() + kMagicBytes);
  if (version != kFrameVersion) {
    return absl::UnimplementedError(
        absl::StrCat("frame ", magic, ": version ", version, "; this build reads ", kFrameVersion));
  }
  return payload;
}

absl::StatusOr<absl::string_view> DecodeFrame(absl::string_view magic, absl::string_view bytes) {
  LCKV_ASSIGN_OR_RETURN(const absl::string_view payload, DecodeFramePrefix(magic, bytes));
  if (bytes.size() != kFrameHeaderBytes + payload.size()) {
    return Damaged(magic, "bytes after the payload");
  }
  return payload;
}

}  // namespace lckv
