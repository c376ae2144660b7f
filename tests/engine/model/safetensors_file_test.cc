#include "engine/model/safetensors_file.h"

#include <filesystem>

#include "tests/engine/model/test_files.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeTensor;
using testing::SafetensorsBytes;
using testing::StatusIs;
using testing::TempDir;

std::string SmallFile() {
  return SafetensorsBytes({MakeTensor("b", DType::kF32, 2, 3, {1, 2, 3, 4, 5, 6}),
                           MakeTensor("a", DType::kBf16, 1, 2, {0.5, -2}),
                           MakeTensor("c", DType::kF16, 2, 1, {0.25, 8})});
}

// Reads all that the file says it has.
void ReadEverything(const SafetensorsFile& file) {
  for (const char* name : {"a", "b", "c"}) {
    absl::StatusOr<HostMatrix> tensor = file.Tensor(name);
    if (tensor.ok()) testing::Values(*tensor);
  }
}

TEST(SafetensorsFileTest, ReadsAllThreeFormats) {
  TempDir dir;
  ASSERT_OK_AND_ASSIGN(const SafetensorsFile file,
                       SafetensorsFile::Open(dir.Write("m.safetensors", SmallFile())));
  ASSERT_OK_AND_ASSIGN(const HostMatrix b, file.Tensor("b"));
  EXPECT_EQ(b.dtype, DType::kF32);
  EXPECT_EQ(b.rows, 2);
  EXPECT_EQ(b.cols, 3);
  EXPECT_THAT(testing::Values(b), ElementsAre(1, 2, 3, 4, 5, 6));
  ASSERT_OK_AND_ASSIGN(const HostMatrix a, file.Tensor("a"));
  EXPECT_EQ(a.dtype, DType::kBf16);
  EXPECT_EQ(a.rows, 1);
  EXPECT_THAT(testing::Values(a), ElementsAre(0.5, -2));
  ASSERT_OK_AND_ASSIGN(const HostMatrix c, file.Tensor("c"));
  EXPECT_EQ(c.dtype, DType::kF16);
  EXPECT_THAT(testing::Values(c), ElementsAre(0.25, 8));
  EXPECT_TRUE(file.HasTensor("a"));
  EXPECT_FALSE(file.HasTensor("__metadata__"));
  EXPECT_THAT(file.Tensor("d"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no tensor \"d\"")));
}

TEST(SafetensorsFileTest, ReportsTheFileSystem) {
  TempDir dir;
  EXPECT_THAT(SafetensorsFile::Open(dir.File("none")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir.File("none"))));
  EXPECT_THAT(SafetensorsFile::Open(dir.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular file")));
  EXPECT_THAT(SafetensorsFile::Open(dir.Write("empty", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty file")));
}

TEST(SafetensorsFileTest, RefusesEveryTruncation) {
  TempDir dir;
  const std::string whole = SmallFile();
  const std::string path = dir.Write("m.safetensors", whole);
  for (size_t size = whole.size(); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    ASSERT_THAT(SafetensorsFile::Open(path), StatusIs(absl::StatusCode::kInvalidArgument)) << size;
  }
  dir.Write("m.safetensors", whole + "x");
  EXPECT_THAT(SafetensorsFile::Open(path), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SafetensorsFileTest, SurvivesEveryBitFlipInTheHeader) {
  TempDir dir;
  const std::string whole = SmallFile();
  const std::string path = dir.Write("m.safetensors", whole);
  testing::BitFlipper flipper(path, whole);
  const size_t data_bytes = 24 + 4 + 4;
  for (size_t byte = 0; byte < whole.size() - data_bytes; ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      flipper.Flip(byte, bit);
      absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
      flipper.Flip(byte, bit);
      if (file.ok()) {
        ReadEverything(*file);
      } else {
        ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << file.status();
      }
    }
  }
}

TEST(SafetensorsFileTest, RefusesMalformedHeaders) {
  struct Case {
    const char* header;  // of 8 bytes of data
    const char* message;
  };
  const Case cases[] = {
      {"", "malformed JSON"},
      {"[]", "wrong type"},
      {"{", "malformed JSON"},
      {"{}", "cover 0 bytes of 8"},
      {R"({"t":1})", "\"t\": a value of the wrong type"},
      {R"({"t":{}})", "\"t\": without dtype"},
      {R"({"t":{"dtype":"F32","shape":[2]}})", "without"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "not two numbers"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", "not two numbers"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "data_offsets [8, 0)"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,16]}})", "data_offsets [0, 16)"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", "negative"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}})", "wrong type"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", "needs 4 bytes"},
      {R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "more bytes"},
      {R"({"t":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", "more bytes"},
      {R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
       "more bytes"},
      {R"({"t":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", "2^63"},
      {R"({"t":{"dtype":"F32","shape":[36893488147419103232],"data_offsets":[0,8]}})",
       "wrong type"},
      {R"({"t":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]}})", "too many"},
      {R"({"t":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", "wrong type"},
      {R"({"t":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "twice"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "unknown field"},
      {R"({"t":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", "wrong type"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "cover 4 bytes of 8"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "starts at 4"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "\"t\": given twice"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("u":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "\"u\": its data starts at 4"},
      {R"({"__metadata__":{"a":{}}})", "wrong type"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}x)", "malformed JSON"},
  };
  TempDir dir;
  for (const Case& c : cases) {
    const std::string path =
        dir.Write("m.safetensors", SafetensorsBytes(c.header, std::string(8, 'd')));
    EXPECT_THAT(SafetensorsFile::Open(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.header;
  }
}

TEST(SafetensorsFileTest, RefusesHeaderLengths) {
  TempDir dir;
  for (const uint64_t length : {uint64_t{9}, uint64_t{1} << 32, UINT64_MAX, UINT64_MAX - 7}) {
    EXPECT_THAT(SafetensorsFile::Open(dir.Write("m", testing::Raw(length) + "{}      ")),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header")))
        << length;
  }
}

TEST(SafetensorsFileTest, KnowsButDoesNotReadOtherTensors) {
  TempDir dir;
  const std::string header = R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                             R"("odd":{"dtype":"F4","shape":[3],"data_offsets":[8,10]},)"
                             R"("none":{"dtype":"F32","shape":[0,4],"data_offsets":[10,10]},)"
                             R"("one":{"dtype":"F32","shape":[],"data_offsets":[10,14]},)"
                             R"("cube":{"dtype":"F32","shape":[1,1,1],"data_offsets":[14,18]}}  )";
  ASSERT_OK_AND_ASSIGN(
      const SafetensorsFile file,
      SafetensorsFile::Open(dir.Write("m", SafetensorsBytes(header, std::string(18, '\0')))));
  for (const char* name : {"i", "odd", "one", "cube"}) {
    EXPECT_THAT(file.Tensor(name), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(name)));
  }
  ASSERT_OK_AND_ASSIGN(const HostMatrix none, file.Tensor("none"));
  EXPECT_EQ(none.rows, 0);
}

}  // namespace
}  // namespace lckv
