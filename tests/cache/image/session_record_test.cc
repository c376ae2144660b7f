#include "cache/image/session_record.h"

#include <gtest/gtest.h>

#include <string>

#include "cache/image/byte_order.h"
#include "cache/image/frame.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::CrcOf;
using ::lckv::testing::MakeManifest;
using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

// A frame whose checksum is right, whatever else is in it.
std::string Frame(const std::string& magic, uint16_t version, const std::string& payload) {
  std::string frame = magic;
  AppendLittleEndian<uint16_t>(frame, version);
  AppendLittleEndian<uint16_t>(frame, 0);
  AppendLittleEndian<uint32_t>(frame, static_cast<uint32_t>(payload.size()));
  AppendLittleEndian<uint32_t>(frame, CrcOf(frame + payload));
  return frame + payload;
}

TEST(SessionRecord, ComesBackAsItWas) {
  const v1::Manifest manifest = MakeManifest("chat-1", 100, 40);
  ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeSessionRecord(manifest));
  ASSERT_OK_AND_ASSIGN(const v1::Manifest back, DecodeSessionRecord(bytes));
  EXPECT_EQ(back.SerializeAsString(), manifest.SerializeAsString());
}

TEST(SessionRecord, HasTheDocumentedBytes) {
  // The worked example of cache/FORMAT.md.
  v1::Manifest manifest;
  manifest.set_format_version(1);
  manifest.set_session_id("a");
  ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeSessionRecord(manifest));
  EXPECT_EQ(bytes,
            std::string("LCKS\x01\x00\x00\x00\x05\x00\x00\x00\x80\xcc\x44\x5b\x08\x01\x2a\x01"
                        "a",
                        21));
}

TEST(SessionRecord, EveryTruncationIsNoticed) {
  ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeSessionRecord(MakeManifest("s", 100, 40)));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(DecodeSessionRecord(bytes.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
  EXPECT_THAT(DecodeSessionRecord(bytes + '\0'), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(SessionRecord, EveryFlippedBitIsNoticed) {
  ASSERT_OK_AND_ASSIGN(std::string bytes, EncodeSessionRecord(MakeManifest("s", 100, 40)));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    EXPECT_THAT(DecodeSessionRecord(bytes), StatusIs(absl::StatusCode::kDataLoss)) << "bit " << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  }
  EXPECT_OK(DecodeSessionRecord(bytes));
}

TEST(SessionRecord, RefusesWhatIsWholeButNotOurs) {
  v1::Manifest manifest = MakeManifest("s", 10, 0);
  const std::string payload = manifest.SerializeAsString();
  EXPECT_OK(DecodeSessionRecord(Frame("LCKS", 1, payload)));
  EXPECT_THAT(DecodeSessionRecord(Frame("LCKS", 2, payload)),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("version 2")));
  EXPECT_THAT(DecodeSessionRecord(Frame("LCKI", 1, payload)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("magic")));
  EXPECT_THAT(DecodeSessionRecord(Frame("LCKS", 1, "\xff\xff")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("parse")));
  manifest.set_format_version(2);
  EXPECT_THAT(DecodeSessionRecord(Frame("LCKS", 1, manifest.SerializeAsString())),
              StatusIs(absl::StatusCode::kUnimplemented));
  manifest.set_format_version(1);
  manifest.set_committed_tokens(11);
  EXPECT_THAT(DecodeSessionRecord(Frame("LCKS", 1, manifest.SerializeAsString())),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("committed_tokens")));
}

TEST(SessionRecord, RefusesToStoreWhatIsNotConsistent) {
  v1::Manifest manifest = MakeManifest("s", 10, 0);
  manifest.set_committed_tokens(11);
  EXPECT_THAT(EncodeSessionRecord(manifest), StatusIs(absl::StatusCode::kInvalidArgument));
  // Fields of a later version count too.
  manifest.set_committed_tokens(10);
  manifest.GetReflection()->MutableUnknownFields(&manifest)->AddLengthDelimited(
      1000, std::string(kMaxFramePayloadBytes, 'x'));
  EXPECT_THAT(EncodeSessionRecord(manifest),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bytes")));
}

TEST(Frame, BoundsItsPayload) {
  std::string header("LCKS");
  AppendLittleEndian<uint32_t>(header, 1);
  AppendLittleEndian<uint32_t>(header, kMaxFramePayloadBytes + 1);
  AppendLittleEndian<uint32_t>(header, 0);
  EXPECT_THAT(FrameBytes("LCKS", header),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("payload_bytes")));
}

}  // namespace
}  // namespace lckv
