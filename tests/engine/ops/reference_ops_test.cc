// The oracle itself, against numbers worked out by hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "engine/ops/backend.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::FloatNear;

class ReferenceOpsTest : public ::testing::Test {
 protected:
  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();
};

TEST_F(ReferenceOpsTest, Linear) {
  const std::vector<float> w = {1, 2, 3, -1, 0, 1};  // [2][3]
  ASSERT_OK_AND_ASSIGN(const auto weight,
                       backend_->PrepareLinear({w.data(), DType::kF32, 2, 3}, DType::kF32));
  const std::vector<float> x = {1, 1, 1, 2, 0, 1};  // [2][3]
  const std::vector<float> bias = {10, 20};
  std::vector<float> out = {100, 200, 300, 400};
  backend_->Linear({weight.get(), x.data(), nullptr, 2, false, out.data()});
  EXPECT_THAT(out, ElementsAre(6, 0, 5, -1));
  backend_->Linear({weight.get(), x.data(), bias.data(), 2, true, out.data()});
  EXPECT_THAT(out, ElementsAre(22, 20, 20, 18));
}

TEST_F(ReferenceOpsTest, EmbedAndGather) {
  const std::vector<float> table = {1, 2, 3, 4, 5, 6};  // [3][2]
  ASSERT_OK_AND_ASSIGN(const auto weight,
                       backend_->PrepareLinear({table.data(), DType::kF32, 3, 2}, DType::kF32));
  const std::vector<int32_t> tokens = {2, 0};
  std::vector<float> out(4);
  backend_->Embed({weight.get(), tokens.data(), 2, out.data()});
  EXPECT_THAT(out, ElementsAre(5, 6, 1, 2));
  backend_->GatherRows({table.data(), tokens.data(), 2, 2, out.data()});
  EXPECT_THAT(out, ElementsAre(5, 6, 1, 2));
}

TEST_F(ReferenceOpsTest, RmsNorm) {
  const std::vector<float> x = {3, 4, 0, 0};  // mean square 25/4
  const std::vector<float> weight = {1, 2, 3, 4};
  std::vector<float> out(4);
  backend_->RmsNorm({x.data(), weight.data(), 0.0f, 1, 4, out.data()});
  EXPECT_THAT(out, ElementsAre(FloatEq(1.2f), FloatEq(3.2f), 0, 0));
  backend_->RmsNorm({x.data(), weight.data(), 93.75f, 1, 4, out.data()});  // sqrt(100)
  EXPECT_THAT(out, ElementsAre(FloatEq(0.3f), FloatEq(0.8f), 0, 0));
}

TEST_F(ReferenceOpsTest, RopePairsHalves) {
  // Position 1 turns pair (0, 2) by 90 degrees and leaves pair (1, 3).
  const std::vector<float> cos_sin = {1, 1, 0, 0, 0, 1, 1, 0};
  std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};  // two rows of one head
  const std::vector<int32_t> positions = {1, 0};
  RopeAndStoreParams params;
  params.cos_sin = cos_sin.data();
  params.queries = {x.data(), positions.data(), 2, 1, 4};
  backend_->RopeAndStore(params);
  EXPECT_THAT(x, ElementsAre(-3, 2, 1, 4, 5, 6, 7, 8));
}

TEST_F(ReferenceOpsTest, SwiGlu) {
  const std::vector<float> gate = {0, 1, -1};
  const std::vector<float> up = {5, 2, 2};
  std::vector<float> out(3);
  backend_->SwiGlu({gate.data(), up.data(), 1, 3, out.data()});
  const float e = std::exp(1.0f);
  EXPECT_THAT(out, ElementsAre(0, FloatEq(2 * e / (1 + e)), FloatEq(-2 / (1 + e))));
}

// One kv head of dimension 2, two positions a page; K and V of position j are (10j, 1) and (j, -j).
class ReferenceAttentionTest : public ReferenceOpsTest {
 protected:
  static constexpr int kPositions = 5;
  static constexpr KvShape kShape = {2, 1, 2, 32, 16};

  ReferenceAttentionTest() {
    for (auto& page : memory_) pages_.push_back(page);
    table_.past_pages = table_.own_pages = pages_.data();
    for (int32_t p = 0; p < kPositions; ++p) {
      const std::vector<float> k = {10.0f * static_cast<float>(p), 1};
      const std::vector<float> v = {static_cast<float>(p), -static_cast<float>(p)};
      const int32_t row_table = 0;
      RopeAndStoreParams params;
      params.kv = {k.data(), v.data(), nullptr, &p, &row_table, &table_, kShape, DType::kF32, 1};
      backend_->RopeAndStore(params);
    }
  }

  // The first output component of a query that tells positions apart sharply or not at all.
  std::vector<float> Attend(int32_t position, float sharpness, int32_t window, bool nodiag) {
    const std::vector<float> q = {sharpness, 0};
    const int32_t row_table = 0;
    std::vector<float> out(2, 99.0f);
    AttentionParams params = {};
    params.q = q.data();
    params.positions = &position;
    params.table_of_row = &row_table;
    params.tables = &table_;
    params.shape = kShape;
    params.dtype = DType::kF32;
    params.rows = 1;
    params.heads = 1;
    params.window = window;
    params.nodiag = nodiag;
    params.scale = 1.0f;
    params.max_position = position;
    params.out = out.data();
    backend_->Attention(params);
    return out;
  }

  float memory_[3][8] = {};
  std::vector<void*> pages_;
  KvTable table_;
};

TEST_F(ReferenceAttentionTest, StoreKvFillsSlotsOfPages) {
  EXPECT_THAT(memory_[0], ElementsAre(0, 1, 10, 1, 0, 0, 1, -1));
  EXPECT_THAT(memory_[1], ElementsAre(20, 1, 30, 1, 2, -2, 3, -3));
  EXPECT_THAT(memory_[2], ElementsAre(40, 1, 0, 0, 4, -4, 0, 0));
}

TEST_F(ReferenceAttentionTest, KeysAreRotatedOnTheirWay) {
  // Position p turns its pair by p right angles. Row 0 is row 1 of k and v, and the other way
  // round.
  const std::vector<float> cos_sin = {1, 0, 0, 1, -1, 0, 0, -1};
  const std::vector<float> k = {3, 4, 5, 6};
  const std::vector<float> v = {9, 10, 7, 8};
  const std::vector<int32_t> source = {1, 0};
  const std::vector<int32_t> positions = {1, 2};
  const std::vector<int32_t> tables = {0, 0};
  RopeAndStoreParams params;
  params.cos_sin = cos_sin.data();
  params.kv = {k.data(),         v.data(),      source.data(),
               positions.data(), tables.data(), &table_,
               kShape,           DType::kF32,   2};
  backend_->RopeAndStore(params);
  EXPECT_THAT(memory_[0], ElementsAre(0, 1, -6, 5, 0, 0, 7, 8));
  EXPECT_THAT(memory_[1], ElementsAre(-3, -4, 30, 1, 9, 10, 3, -3));
}

TEST_F(ReferenceAttentionTest, AveragesWhatIsVisible) {
  EXPECT_THAT(Attend(4, 0, 0, false), ElementsAre(FloatEq(2), FloatEq(-2)));
  EXPECT_THAT(Attend(4, 0, 0, true), ElementsAre(FloatEq(1.5f), FloatEq(-1.5f)));
  EXPECT_THAT(Attend(4, 0, 2, false), ElementsAre(FloatEq(3.5f), FloatEq(-3.5f)));
  EXPECT_THAT(Attend(4, 0, 2, true), ElementsAre(FloatEq(3), FloatEq(-3)));
  table_.visible_end = 2;
  EXPECT_THAT(Attend(4, 0, 0, false), ElementsAre(FloatEq(0.5f), FloatEq(-0.5f)));
}

TEST_F(ReferenceAttentionTest, SharpQueriesPickOnePosition) {
  EXPECT_THAT(Attend(3, 10, 0, false), ElementsAre(FloatEq(3), FloatEq(-3)));
  EXPECT_THAT(Attend(3, -10, 0, false), ElementsAre(FloatNear(0, 1e-6f), FloatNear(0, 1e-6f)));
  // Weights 1 : e^10.
  const float ratio = std::exp(10.0f);
  EXPECT_THAT(Attend(1, 1, 0, false), ElementsAre(FloatEq(ratio / (1 + ratio)), ::testing::_));
}

TEST_F(ReferenceAttentionTest, NothingVisibleIsZero) {
  EXPECT_THAT(Attend(0, 1, 0, true), ElementsAre(0, 0));
  EXPECT_THAT(Attend(3, 1, 1, true), ElementsAre(0, 0));
  table_.visible_end = 0;
  EXPECT_THAT(Attend(4, 1, 0, false), ElementsAre(0, 0));
}

TEST_F(ReferenceAttentionTest, KvChangeIsRelative) {
  float changed[8];
  std::copy_n(memory_[1], 8, changed);
  changed[0] += 3;  // K of position 2: (20, 1) and V (2, -2): norm sqrt(409) before
  changed[4] += 4;
  std::vector<void*> pages = {pages_[0], changed, pages_[2]};
  KvTable current = table_;
  current.own_pages = pages.data();
  const std::vector<int32_t> positions = {2, 3};
  const std::vector<int32_t> tables = {0, 0};
  std::vector<float> out(2);
  backend_->KvChange(
      {positions.data(), tables.data(), &table_, &current, kShape, DType::kF32, 2, out.data()});
  EXPECT_THAT(out, ElementsAre(FloatEq(5 / std::sqrt(23.0f * 23 + 1 + 36 + 4)), 0));
}

}  // namespace
}  // namespace lckv
