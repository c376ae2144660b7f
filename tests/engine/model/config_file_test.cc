#include "engine/model/config_file.h"

#include "tests/engine/model/small_model.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

TEST(ConfigFileTest, NeedsNoWeights) {
  const testing::TempDir dir;
  dir.Write("config.json", testing::HfConfig({}).dump());
  const std::string alone = dir.Write("other.json", testing::HfConfig({}).dump());
  for (const std::string& path : {dir.path(), alone}) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, ReadModelConfig(path));
    EXPECT_EQ(config.num_layers, testing::SmallModel::kLayers);
    EXPECT_EQ(config.head_dim, testing::SmallModel::kHeadDim);
  }
}

TEST(ConfigFileTest, ReadsGguf) {
  const testing::TempDir dir;
  testing::GgufBuilder file = testing::GgufKeys();
  testing::AddGgufTensors(file, {});
  ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                       ReadModelConfig(dir.Write("small.gguf", file.Build())));
  EXPECT_EQ(config.vocab_size, testing::SmallModel::kVocab);
  EXPECT_FALSE(config.tied_embeddings);
}

TEST(ConfigFileTest, ErrorsNameTheFile) {
  const testing::TempDir dir;
  EXPECT_THAT(ReadModelConfig(dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  EXPECT_THAT(ReadModelConfig(dir.File("a.gguf")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("a.gguf")));
  EXPECT_THAT(ReadModelConfig(dir.Write("bad.json", "{")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bad.json")));
  EXPECT_THAT(ReadModelConfig(dir.Write("bad.gguf", "{")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bad.gguf")));
}

}  // namespace
}  // namespace lckv
