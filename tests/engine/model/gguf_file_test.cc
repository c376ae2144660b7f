#include "engine/model/gguf_file.h"

#include <filesystem>

#include "tests/engine/model/test_files.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using testing::GgufText;
using ::testing::HasSubstr;
using testing::MakeTensor;
using testing::Raw;
using testing::StatusIs;
using testing::TempDir;

std::string ArrayOf(uint32_t type, uint64_t count, absl::string_view elements) {
  return absl::StrCat(Raw(type), Raw(count), elements);
}

std::vector<float> Ramp(int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(i));
  return values;
}

// Every value type and every number format.
GgufBuilder SmallFile() {
  GgufBuilder file;
  file.Key("u8", 0, Raw(uint8_t{200}))
      .Key("i8", 1, Raw(int8_t{-3}))
      .Key("u16", 2, Raw(uint16_t{60000}))
      .Key("i16", 3, Raw(int16_t{-300}))
      .Int("u32", 4000000000)
      .Key("i32", 5, Raw(int32_t{-5}))
      .Float("f32", 1.5f)
      .Key("bool", 7, Raw(uint8_t{1}))
      .String("text", "héllo")
      .Key("u64", 10, Raw(uint64_t{1} << 40))
      .Key("i64", 11, Raw(int64_t{-1}))
      .Key("f64", 12, Raw(0.1))
      .Key("ints", 9, ArrayOf(5, 2, Raw(int32_t{-1}) + Raw(int32_t{7})))
      .Key("bools", 9, ArrayOf(7, 2, absl::string_view("\1\0", 2)))
      .Key("floats", 9, ArrayOf(6, 1, Raw(2.5f)))
      .Key("strings", 9, ArrayOf(8, 2, GgufText("a") + GgufText("")))
      .Key("nothing", 9, ArrayOf(8, 0, ""));
  file.Tensor(MakeTensor("f32", DType::kF32, 2, 3, Ramp(6)))
      .Tensor(MakeTensor("f16", DType::kF16, 1, 4, Ramp(4)))
      .Tensor(MakeTensor("bf16", DType::kBf16, 2, 2, Ramp(4)))
      .Tensor(MakeTensor("q8", DType::kQ8_0, 2, 32, Ramp(64)))
      .Tensor(MakeTensor("q4", DType::kQ4_1, 1, 64, Ramp(64)));
  return file;
}

void ReadEverything(const GgufFile& file) {
  for (const std::string& name : file.TensorNames()) {
    absl::StatusOr<HostMatrix> tensor = file.Tensor(name);
    if (tensor.ok()) testing::Values(*tensor);
  }
}

void ExpectSaneOrTyped(const std::string& path) {
  absl::StatusOr<GgufFile> file = GgufFile::Open(path);
  if (file.ok()) {
    ReadEverything(*file);
    return;
  }
  const absl::StatusCode code = file.status().code();
  EXPECT_TRUE(code == absl::StatusCode::kInvalidArgument ||
              code == absl::StatusCode::kUnimplemented)
      << file.status();
}

TEST(GgufFileTest, ReadsEveryValueType) {
  TempDir dir;
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(dir.Write("m", SmallFile().Build())));
  struct Case {
    const char* key;
    int64_t value;
  };
  for (const Case& c :
       {Case{"u8", 200}, Case{"i8", -3}, Case{"u16", 60000}, Case{"i16", -300},
        Case{"u32", 4000000000}, Case{"i32", -5}, Case{"u64", int64_t{1} << 40}, Case{"i64", -1}}) {
    ASSERT_OK_AND_ASSIGN(const int64_t value, file.GetInt(c.key));
    EXPECT_EQ(value, c.value) << c.key;
  }
  EXPECT_EQ(*file.GetFloat("f32"), 1.5);
  EXPECT_EQ(*file.GetFloat("f64"), 0.1);
  EXPECT_EQ(*file.GetFloat("i32"), -5.0);
  EXPECT_TRUE(*file.GetBool("bool"));
  EXPECT_EQ(*file.GetString("text"), "héllo");
  EXPECT_THAT(*file.GetInts("ints"), ElementsAre(-1, 7));
  EXPECT_THAT(*file.GetInts("bools"), ElementsAre(1, 0));
  EXPECT_THAT(*file.GetFloats("floats"), ElementsAre(2.5));
  EXPECT_THAT(*file.GetStrings("strings"), ElementsAre("a", ""));
  EXPECT_TRUE(file.GetStrings("nothing")->empty());
  EXPECT_EQ(file.Find("absent"), nullptr);
  EXPECT_THAT(file.GetInt("absent"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
  EXPECT_THAT(file.GetInt("text"), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("\"text\" is not an integer")));
  EXPECT_THAT(file.GetBool("u8"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(GgufFileTest, ReadsTensors) {
  TempDir dir;
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(dir.Write("m", SmallFile().Build())));
  EXPECT_THAT(file.TensorNames(), ElementsAre("bf16", "f16", "f32", "q4", "q8"));
  ASSERT_OK_AND_ASSIGN(const HostMatrix f32, file.Tensor("f32"));
  EXPECT_EQ(f32.rows, 2);
  EXPECT_EQ(f32.cols, 3);
  EXPECT_EQ(testing::Values(f32), Ramp(6));
  ASSERT_OK_AND_ASSIGN(const HostMatrix f16, file.Tensor("f16"));
  EXPECT_EQ(f16.rows, 1);
  EXPECT_EQ(testing::Values(f16), Ramp(4));
  ASSERT_OK_AND_ASSIGN(const HostMatrix bf16, file.Tensor("bf16"));
  EXPECT_EQ(testing::Values(bf16), Ramp(4));
  ASSERT_OK_AND_ASSIGN(const HostMatrix q8, file.Tensor("q8"));
  EXPECT_EQ(q8.dtype, DType::kQ8_0);
  EXPECT_NEAR(testing::Values(q8)[63], 63, 0.1);
  ASSERT_OK_AND_ASSIGN(const HostMatrix q4, file.Tensor("q4"));
  EXPECT_EQ(q4.dtype, DType::kQ4_1);
  EXPECT_NEAR(testing::Values(q4)[33], 33, 1.1);
  EXPECT_TRUE(file.HasTensor("q4"));
  EXPECT_FALSE(file.HasTensor("q5"));
  EXPECT_THAT(file.Tensor("q5"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("q5")));
}

TEST(GgufFileTest, CopiesShareTheMapping) {
  TempDir dir;
  std::optional<GgufFile> copy;
  HostMatrix matrix;
  {
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(dir.Write("m", SmallFile().Build())));
    ASSERT_OK_AND_ASSIGN(matrix, file.Tensor("f32"));
    copy = file;
  }
  EXPECT_EQ(testing::Values(matrix), Ramp(6));
}

TEST(GgufFileTest, ReadsAVocabularyFile) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file,
                       GgufFile::Open(testing::GoldenPath("tokenizers/bpe_gpt2.vocab.gguf")));
  EXPECT_EQ(*file.GetString("tokenizer.ggml.model"), "gpt2");
  ASSERT_OK_AND_ASSIGN(const GgufFile::Strings tokens, file.GetStrings("tokenizer.ggml.tokens"));
  ASSERT_OK_AND_ASSIGN(const GgufFile::Ints types, file.GetInts("tokenizer.ggml.token_type"));
  EXPECT_GT(tokens.size(), 256u);
  EXPECT_EQ(tokens.size(), types.size());
}

TEST(GgufFileTest, RefusesEveryTruncation) {
  TempDir dir;
  const std::string whole = SmallFile().Build();
  const std::string path = dir.Write("m", whole);
  // Up to the last tensor's last byte; the padding after it is nobody's.
  const size_t needed = whole.size() - (64 - 40);
  for (size_t size = needed; size-- > 0;) {
    std::filesystem::resize_file(path, size);
    ASSERT_THAT(GgufFile::Open(path), StatusIs(absl::StatusCode::kInvalidArgument)) << size;
  }
}

TEST(GgufFileTest, RefusesTruncatedVocabularies) {
  TempDir dir;
  const std::string whole =
      testing::ReadFile(testing::GoldenPath("tokenizers/bpe_gpt2.vocab.gguf"));
  const std::string path = dir.Write("m", whole);
  // The last bytes only pad the metadata.
  for (size_t size = whole.size() - 32; size > 0; size -= std::min<size_t>(size, 37)) {
    std::filesystem::resize_file(path, size);
    ASSERT_THAT(GgufFile::Open(path), StatusIs(absl::StatusCode::kInvalidArgument)) << size;
  }
}

TEST(GgufFileTest, SurvivesEveryBitFlipOutsideTheData) {
  TempDir dir;
  const std::string whole = SmallFile().Build();
  const std::string path = dir.Write("m", whole);
  testing::BitFlipper flipper(path, whole);
  const size_t data_bytes = 32 + 32 + 32 + 96 + 64;
  for (size_t byte = 0; byte < whole.size() - data_bytes; ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      flipper.Flip(byte, bit);
      ExpectSaneOrTyped(path);
      flipper.Flip(byte, bit);
    }
  }
}

TEST(GgufFileTest, SurvivesBitFlipsInAVocabulary) {
  TempDir dir;
  const std::string whole =
      testing::ReadFile(testing::GoldenPath("tokenizers/bpe_gpt2.vocab.gguf"));
  const std::string path = dir.Write("m", whole);
  testing::BitFlipper flipper(path, whole);
  for (size_t byte = 0; byte < whole.size(); byte += byte < 512 ? 1 : 61) {
    const int bit = static_cast<int>(byte % 8);
    flipper.Flip(byte, bit);
    ExpectSaneOrTyped(path);
    flipper.Flip(byte, bit);
  }
}

TEST(GgufFileTest, RefusesOtherFilesAndVersions) {
  TempDir dir;
  EXPECT_THAT(GgufFile::Open(dir.Write("m", "GGUX" + std::string(100, '\0'))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a GGUF file")));
  for (const uint32_t version : {0u, 1u, 2u, 4u, 0x03000000u}) {  // the last one: big-endian
    EXPECT_THAT(
        GgufFile::Open(dir.Write("m", absl::StrCat("GGUF", Raw(version), std::string(16, '\0')))),
        StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("version")));
  }
  EXPECT_OK(GgufFile::Open(dir.Write("m", absl::StrCat("GGUF", Raw(3u), std::string(16, '\0')))));
}

TEST(GgufFileTest, RefusesCountsThatCannotBe) {
  TempDir dir;
  for (const uint64_t count : {uint64_t{1}, uint64_t{100'001}, uint64_t{1} << 63, UINT64_MAX}) {
    const std::string header = absl::StrCat("GGUF", Raw(3u));
    EXPECT_THAT(GgufFile::Open(dir.Write("m", absl::StrCat(header, Raw(count), Raw(uint64_t{0})))),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(GgufFile::Open(dir.Write("m", absl::StrCat(header, Raw(uint64_t{0}), Raw(count)))),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(GgufFileTest, RefusesMalformedKeys) {
  struct Case {
    const char* about;
    GgufBuilder file;
    const char* message;
  };
  const uint64_t huge = UINT64_MAX;
  const Case cases[] = {
      {"string", GgufBuilder().Key("k", 8, Raw(huge)), "\"k\": a string ends after the file"},
      {"almost", GgufBuilder().Key("k", 8, Raw(uint64_t{2}) + "x"), "a string ends"},
      {"type", GgufBuilder().Key("k", 13, "xxxxxxxxxxxxxxxx"), "unknown value type 13"},
      {"bool", GgufBuilder().Key("k", 7, "\2"), "neither 0 nor 1"},
      {"u64", GgufBuilder().Key("k", 10, Raw(huge)), "over 2^63 - 1"},
      {"element", GgufBuilder().Key("k", 9, ArrayOf(99, 0, "")), "unknown value type 99"},
      {"count", GgufBuilder().Key("k", 9, ArrayOf(0, huge, "")), "an array ends after the file"},
      {"bytes", GgufBuilder().Key("k", 9, ArrayOf(10, uint64_t{1} << 61, "")), "an array ends"},
      {"strings", GgufBuilder().Key("k", 9, ArrayOf(8, 2, GgufText("a"))), "an array ends"},
      {"twice", GgufBuilder().Int("k", 1).Int("k", 1), "\"k\": given twice"},
      {"alignment", GgufBuilder().Int("general.alignment", 0), "general.alignment"},
      {"alignment", GgufBuilder().Int("general.alignment", 24), "not a power of two"},
      {"alignment", GgufBuilder().Int("general.alignment", 1u << 31), "not a power of two"},
      {"alignment", GgufBuilder().String("general.alignment", "32"), "general.alignment"},
  };
  TempDir dir;
  for (const Case& c : cases) {
    EXPECT_THAT(GgufFile::Open(dir.Write("m", c.file.Build())),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.about;
  }
  const std::string nested = ArrayOf(9, 1, ArrayOf(0, 0, ""));
  EXPECT_THAT(GgufFile::Open(dir.Write("m", GgufBuilder().Key("k", 9, nested).Build())),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("arrays of arrays")));
  // The name's length is the first thing after the counts.
  std::string long_name = GgufBuilder().Key(std::string(70'000, 'n'), 4, Raw(1u)).Build();
  EXPECT_THAT(GgufFile::Open(dir.Write("m", long_name)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too long")));
}

TEST(GgufFileTest, RefusesMalformedTensors) {
  struct Case {
    std::vector<uint64_t> dims;
    uint32_t type;
    uint64_t offset;
    const char* message;
  };
  const uint64_t big = uint64_t{1} << 32;
  const Case cases[] = {
      {{}, 0, 0, "0 dimensions"},
      {{1, 1, 1, 1, 1}, 0, 0, "5 dimensions"},
      {{0}, 0, 0, "dimension 0"},
      {{UINT64_MAX}, 0, 0, "dimension"},
      {{INT64_MAX}, 0, 0, "ends after"},
      {{big, big}, 0, 0, "ends after"},
      {{big, big, big, big}, 1, 0, "ends after"},
      {{17}, 0, 0, "ends after"},
      {{16}, 0, 32, "ends after"},
      {{8, 2}, 0, 16, "not aligned"},
      {{8}, 0, UINT64_MAX - 31, "after the file"},
      {{8}, 0, 1 << 20, "after the file"},
      {{33}, 8, 0, "blocks of 32"},
      {{64}, 8, 0, "ends after"},
      {{16, 2}, 3, 0, "blocks of 32"},
      {{8}, 12, 1 << 20, "after the file"},  // a type that we do not know
  };
  TempDir dir;
  for (const Case& c : cases) {
    const std::string file =
        GgufBuilder().TensorInfo("t", c.dims, c.type, c.offset).Data(std::string(64, 'd')).Build();
    EXPECT_THAT(GgufFile::Open(dir.Write("m", file)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         ::testing::AllOf(HasSubstr("\"t\""), HasSubstr(c.message))))
        << c.message;
  }
  const std::string twice =
      GgufBuilder().TensorInfo("t", {1}, 0, 0).TensorInfo("t", {1}, 0, 0).Data("dddd").Build();
  EXPECT_THAT(GgufFile::Open(dir.Write("m", twice)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("given twice")));
}

TEST(GgufFileTest, KnowsButDoesNotReadOtherTensors) {
  TempDir dir;
  const std::string bytes = GgufBuilder()
                                .TensorInfo("q6", {256}, 14, 0)
                                .TensorInfo("cube", {2, 2, 2}, 0, 32)
                                .Data(std::string(64, 'd'))
                                .Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(dir.Write("m", bytes)));
  EXPECT_THAT(file.Tensor("q6"), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("type 14")));
  EXPECT_THAT(file.Tensor("cube"), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("cube")));
}

TEST(GgufFileTest, FollowsTheAlignmentKey) {
  TempDir dir;
  std::string bytes =
      GgufBuilder().Int("general.alignment", 4096).TensorInfo("t", {2}, 0, 4096).Build();
  bytes.resize(4096 + 4096, '\0');
  bytes += Raw(1.5f) + Raw(-2.0f);
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(dir.Write("m", bytes)));
  ASSERT_OK_AND_ASSIGN(const HostMatrix tensor, file.Tensor("t"));
  EXPECT_THAT(testing::Values(tensor), ElementsAre(1.5, -2));
}

}  // namespace
}  // namespace lckv
