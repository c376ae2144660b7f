#include "engine/plan/paper_table.h"

#include <string>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using testing::StatusIs;

TEST(PaperTableTest, Maps) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig w2, PaperModel("1.1B", 2));
  EXPECT_EQ(w2.layer_map.ToString(),
            "0_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_21");
  EXPECT_EQ(w2.default_passes(), 9);
  ASSERT_OK_AND_ASSIGN(const ModelConfig w10, PaperModel("30B", 10));
  EXPECT_THAT(w10.layer_map.producers(), ElementsAre(0, 1, 2, 3, 4, 54, 55, 56, 57, 58, 59));
  ASSERT_OK_AND_ASSIGN(const ModelConfig full, PaperModel("7B", 0));
  EXPECT_THAT(full.layer_map.producers(), SizeIs(32));
  EXPECT_FALSE(full.force_nodiag);
  EXPECT_THAT(PaperModel("13B", 2), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(PaperModel("7B", 32), StatusIs(absl::StatusCode::kInvalidArgument));
}

// The paper's batches were found with an implementation that needs more memory beside weights and
// KV: every one of them fits into the plan, and none is far below it.
TEST(PaperTableTest, PlansHoldThePapersBatches) {
  ASSERT_THAT(PaperTable(), SizeIs(10));
  for (const PaperRow& row : PaperTable()) {
    for (size_t i = 0; i < kPaperWarmupLayers.size(); ++i) {
      SCOPED_TRACE(absl::StrCat(row.device, " ", row.model, " ", row.prompt_tokens, "+",
                                row.generated_tokens, " w=", kPaperWarmupLayers[i]));
      ASSERT_OK_AND_ASSIGN(const Plan plan, PlanPaperRow(row, kPaperWarmupLayers[i]));
      EXPECT_GE(plan.largest_batch, row.largest_batch[i]);
      EXPECT_LE(plan.largest_batch, 5 * row.largest_batch[i]);
      EXPECT_EQ(plan.device_layers < 60, row.offloaded || row.model != "30B");
      EXPECT_GE(plan.total_shared.tokens_per_second, row.tokens_per_second[i]);
    }
  }
}

}  // namespace
}  // namespace lckv
