#include "engine/model/layer_map.h"

#include <nlohmann/json.hpp>

#include "engine/model/model_config.h"
#include "tests/engine/model/test_files.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StatusIs;

MATCHER_P3(IsRun, begin, end, cyclic, "") {
  return arg.begin == begin && arg.end == end && arg.cyclic == cyclic;
}

LayerMap MustParse(absl::string_view text, int num_layers) {
  absl::StatusOr<LayerMap> map = LayerMap::Parse(text, num_layers);
  EXPECT_OK(map);
  return *std::move(map);
}

TEST(LayerMapTest, AgreesWithEveryGoldenCase) {
  int cases = 0;
  for (const auto& folder : std::filesystem::directory_iterator(testing::GoldenPath("lckv"))) {
    SCOPED_TRACE(folder.path().string());
    const auto golden =
        nlohmann::json::parse(testing::ReadFile(folder.path().string() + "/case.json"));
    ASSERT_OK_AND_ASSIGN(
        const ModelConfig config,
        ModelConfig::FromHfJson(testing::ReadFile(folder.path().string() + "/config.json"), ""));
    const LayerMap& map = config.layer_map;

    EXPECT_EQ(map.ToString(), golden["layer_map"].get<std::string>());
    EXPECT_EQ(map.producers(), golden["producers"].get<std::vector<int>>());
    const auto nodiag = golden["nodiag"].get<std::vector<bool>>();
    ASSERT_EQ(static_cast<int>(nodiag.size()), map.num_layers());
    for (int i = 0; i < map.num_layers(); ++i) EXPECT_EQ(config.nodiag(i), nodiag[i]) << i;
    EXPECT_EQ(map.cyclic(), !golden["paper_passes"].is_null());
    const int passes = map.cyclic() ? golden["paper_passes"].get<int>() : 1;
    EXPECT_EQ(config.default_passes(), passes);
    ++cases;
  }
  EXPECT_EQ(cases, 20);
}

TEST(LayerMapTest, Identity) {
  const LayerMap map = LayerMap::Identity(3);
  EXPECT_EQ(map.ToString(), "0_1_2");
  EXPECT_THAT(map.producers(), ElementsAre(0, 1, 2));
  EXPECT_THAT(map.runs(), ElementsAre(IsRun(0, 3, false)));
  EXPECT_FALSE(map.cyclic());
}

TEST(LayerMapTest, RunsOfAcyclicMaps) {
  EXPECT_THAT(MustParse("0_0_2_2_4_4", 6).runs(), ElementsAre(IsRun(0, 6, false)));
  EXPECT_THAT(MustParse("0", 1).runs(), ElementsAre(IsRun(0, 1, false)));
}

TEST(LayerMapTest, RunsOfCyclicMaps) {
  EXPECT_THAT(MustParse("0_4_4_4_4_5", 6).runs(),
              ElementsAre(IsRun(0, 1, false), IsRun(1, 5, true), IsRun(5, 6, false)));
  EXPECT_THAT(MustParse("5_5_5_5_5_5", 6).runs(), ElementsAre(IsRun(0, 6, true)));
  EXPECT_THAT(MustParse("2_2_2_5_5_5", 6).runs(),
              ElementsAre(IsRun(0, 3, true), IsRun(3, 6, true)));
  // The layer above the target that reads from it is no part of the group.
  EXPECT_THAT(MustParse("0_3_3_3_3_5", 6).runs(),
              ElementsAre(IsRun(0, 1, false), IsRun(1, 4, true), IsRun(4, 6, false)));
  // Layer 1 lies in the group that layer 0 opens and stretches it to layer 2.
  EXPECT_THAT(MustParse("1_2s_0_3", 4).runs(), ElementsAre(IsRun(0, 3, true), IsRun(3, 4, false)));
  // The end grows more than once: 0 -> 2, 2 -> 4.
  EXPECT_THAT(MustParse("2_1_4_3_4_5", 6).runs(),
              ElementsAre(IsRun(0, 5, true), IsRun(5, 6, false)));
}

TEST(LayerMapTest, UpwardTargets) {
  const LayerMap map = MustParse("0_3_3_3_3_5", 6);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(map.is_upward_target(i), i == 3) << i;
  const LayerMap shared = MustParse("0_0_2_2", 4);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(shared.is_upward_target(i)) << i;
}

TEST(LayerMapTest, KeepsWindows) {
  const LayerMap map = MustParse("0s_3_3s_3", 4);
  EXPECT_TRUE(map.windowed(0));
  EXPECT_FALSE(map.windowed(1));
  EXPECT_TRUE(map.windowed(2));
  EXPECT_EQ(map.source(2), 3);
  EXPECT_EQ(map.ToString(), "0s_3_3s_3");
}

TEST(LayerMapTest, RefusesMalformedItems) {
  for (const char* text : {"", "_", "0_", "_1", "0__1", "0_a", "0_-1", "0_+1", "0_ 1", "0_1S",
                           "0_s", "0_1ss", "0_1.0", "0_99999999999999999999", "0,1"}) {
    EXPECT_THAT(LayerMap::Parse(text, 2),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer map: item")))
        << text;
  }
}

TEST(LayerMapTest, RefusesWrongCountsAndLayers) {
  EXPECT_THAT(LayerMap::Parse("0_1", 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 items for 3 layers")));
  EXPECT_THAT(LayerMap::Parse("0_1_2_3", 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 3 items")));
  EXPECT_THAT(LayerMap::Parse("0_3_2", 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer 1 uses layer 3")));
}

}  // namespace
}  // namespace lckv
