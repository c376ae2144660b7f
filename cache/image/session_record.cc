#include "cache/image/session_record.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cache/image/frame.h"
#include "cache/image/manifest.h"

namespace lckv {

absl::StatusOr<std::string> EncodeSessionRecord(const v1::Manifest& manifest) {
  LCKV_RETURN_IF_ERROR(ValidateManifest(manifest));
  const size_t payload_bytes = manifest.ByteSizeLong();
  if (payload_bytes > kMaxFramePayloadBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest: ", payload_bytes, " bytes, over ", kMaxFramePayloadBytes));
  }
  return EncodeFrame(kSessionRecordMagic, manifest.SerializeAsString());
}

absl::StatusOr<v1::Manifest> ParseManifest(absl::string_view payload) {
  v1::Manifest manifest;
  if (!manifest.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return absl::DataLossError("manifest: does not parse");
  }
  const absl::Status status = ValidateManifest(manifest);
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    return absl::DataLossError(status.message());
  }
  LCKV_RETURN_IF_ERROR(status);
  return manifest;
}

absl::StatusOr<v1::Manifest> DecodeSessionRecord(absl::string_view bytes) {
  LCKV_ASSIGN_OR_RETURN(const absl::string_view payload, DecodeFrame(kSessionRecordMagic, bytes));
  return ParseManifest(payload);
}

}  // namespace lckv
