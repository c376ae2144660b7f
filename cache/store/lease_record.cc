#include "cache/store/lease_record.h"

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "cache/image/byte_order.h"
#include "cache/image/frame.h"
#include "cache/image/manifest.h"

namespace lckv {

std::string EncodeLeaseRecord(const LeaseRecord& record) {
  std::string payload;
  AppendLittleEndian<uint64_t>(payload, record.epoch);
  payload += record.holder;
  return EncodeFrame(kLeaseRecordMagic, payload);
}

absl::StatusOr<LeaseRecord> DecodeLeaseRecord(absl::string_view bytes) {
  LCKV_ASSIGN_OR_RETURN(const absl::string_view payload, DecodeFrame(kLeaseRecordMagic, bytes));
  if (payload.size() < sizeof(uint64_t) || payload.size() > sizeof(uint64_t) + kMaxNameBytes) {
    return absl::DataLossError("lease record: payload size");
  }
  return LeaseRecord{LoadLittleEndian<uint64_t>(payload.data()),
                     std::string(payload.substr(sizeof(uint64_t)))};
}

std::string EncodeEpochLimit(uint64_t limit) {
  std::string payload;
  AppendLittleEndian<uint64_t>(payload, limit);
  return EncodeFrame(kEpochLimitMagic, payload);
}

absl::StatusOr<uint64_t> DecodeEpochLimit(absl::string_view bytes) {
  LCKV_ASSIGN_OR_RETURN(const absl::string_view payload, DecodeFrame(kEpochLimitMagic, bytes));
  if (payload.size() != sizeof(uint64_t)) return absl::DataLossError("epoch limit: payload size");
  return LoadLittleEndian<uint64_t>(payload.data());
}

}  // namespace lckv
