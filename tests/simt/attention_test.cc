// The tensor-core attention kernels: a row gets the same bits from every form and every cut of the
// work. What bits they are is the conformance table's to judge.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/attention_plan.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/kv_memory.h"
#include "tests/simt/executor.h"

namespace lckv::gpu {
namespace {

using testing::AttentionSpec;
using testing::RowSpec;
using testing::SequenceSpec;

using Bits = std::vector<uint16_t>;

std::string Describe(const AttentionSpec& spec) {
  return absl::StrCat("heads ", spec.heads, " on ", spec.kv_heads, " of ", spec.head_dim,
                      ", pages of ", spec.tokens_per_page, ", window ", spec.window, ", sinks ",
                      spec.sinks, spec.nodiag ? ", nodiag" : "");
}

// A case in host memory, which is the simulated device's.
class Problem {
 public:
  explicit Problem(const AttentionSpec& spec)
      : spec_(spec),
        kv_spec_{spec.dtype,           spec.kv_heads,  spec.head_dim,
                 spec.tokens_per_page, spec.sequences, spec.rows},
        kv_(kv_spec_, 61),
        memory_(*backend_, kv_spec_, &kv_, 0xFF),
        q_(testing::Gaussian(spec.rows.size() * RowSize(), 63)) {}

  int32_t rows() const { return static_cast<int32_t>(spec_.rows.size()); }
  size_t RowSize() const { return static_cast<size_t>(spec_.heads * spec_.head_dim); }

  // The output of the rows `which`, in their order, by `plan`.
  Bits Run(const std::vector<int32_t>& which, AttentionPlan plan) const {
    std::vector<int32_t> positions, tables;
    std::vector<float> q;
    for (int32_t r : which) {
      positions.push_back(spec_.rows[static_cast<size_t>(r)].position);
      tables.push_back(spec_.rows[static_cast<size_t>(r)].sequence);
      const auto from = q_.begin() + static_cast<int64_t>(static_cast<size_t>(r) * RowSize());
      q.insert(q.end(), from, from + static_cast<int64_t>(RowSize()));
    }
    plan.decode_rows = std::min(plan.decode_rows, static_cast<int32_t>(which.size()));
    Bits out(q.size(), 0xAAAA);
    AttentionParams params = {};
    params.q = q.data();
    params.positions = positions.data();
    params.table_of_row = tables.data();
    params.tables = memory_.tables();
    params.shape = memory_.shape();
    params.dtype = spec_.dtype;
    params.rows = static_cast<int32_t>(which.size());
    params.heads = spec_.heads;
    params.window = spec_.window;
    params.nodiag = spec_.nodiag;
    params.scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_dim));
    params.out = {out.data(), DType::kBf16};
    params.sinks = spec_.sinks;
    EXPECT_TRUE(CanAttendWithMma(params));
    // NaN, as a device's memory may be. Whoever writes behind it meets the sanitizer.
    std::vector<float> scratch(
        static_cast<size_t>(plan.decode_rows * spec_.heads * plan.slots * (spec_.head_dim + 2)),
        std::nanf(""));
    const Workspace workspace = {scratch.data(), scratch.size() * sizeof(float), 4};
    EXPECT_EQ(LaunchAttentionMma(params, plan, workspace, nullptr), 0) << simt::LastError();
    return out;
  }
  Bits RunAll(const AttentionPlan& plan) const { return Run(All(), plan); }

  std::vector<int32_t> All() const {
    std::vector<int32_t> all;
    for (int32_t r = 0; r < rows(); ++r) all.push_back(r);
    return all;
  }

  // Rows `which` of the output of all rows.
  Bits Pick(const Bits& all, const std::vector<int32_t>& which) const {
    Bits some;
    for (int32_t r : which) {
      const auto from = all.begin() + static_cast<int64_t>(static_cast<size_t>(r) * RowSize());
      some.insert(some.end(), from, from + static_cast<int64_t>(RowSize()));
    }
    return some;
  }

 private:
  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();
  const AttentionSpec spec_;
  const testing::KvSpec kv_spec_;
  const testing::KvValues kv_;
  const testing::KvMemory memory_;
  const std::vector<float> q_;
};

void ExpectEqual(const Bits& expected, const Bits& actual, const std::string& what) {
  ASSERT_EQ(expected.size(), actual.size()) << what;
  const auto [here, there] = std::mismatch(expected.begin(), expected.end(), actual.begin());
  if (here == expected.end()) return;
  ADD_FAILURE() << what << ": value " << here - expected.begin() << " of " << expected.size()
                << " is " << std::hex << *there << ", not " << *here;
}

// Tiles, decode blocks, shared chunks, and both forms in one batch.
void ExpectFormsAgree(const AttentionSpec& spec) {
  SCOPED_TRACE(Describe(spec));
  const Problem problem(spec);
  const int32_t rows = problem.rows();
  const Bits expected = problem.RunAll({.decode_rows = rows});
  for (const uint16_t value : expected) ASSERT_NE(value & 0x7f80, 0x7f80) << "not a number";
  if (spec.heads / spec.kv_heads <= 64) {
    ExpectEqual(expected, problem.RunAll({}), "tiles");
    ExpectEqual(expected, problem.RunAll({.decode_rows = rows / 3, .splits = 2, .slots = 9}),
                "both forms");
  }
  for (const AttentionPlan& plan :
       {AttentionPlan{rows, 2, 9}, {rows, 3, 2}, {rows, 7, 9}, {rows, 5, 1}}) {
    ExpectEqual(expected, problem.RunAll(plan),
                absl::StrCat(plan.splits, " splits, ", plan.slots, " slots"));
  }
}

// Some rows of each kind: at borders of chunks and pages, in the middle, the last.
std::vector<RowSpec> SomeRows(int length) {
  std::vector<RowSpec> rows;
  for (int p : {0, 1, 15, 40, 63, 64, 65, 127, 130}) {
    if (p < length - 1) rows.push_back({0, p});
  }
  rows.push_back({0, length - 1});
  return rows;
}

class AttentionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    simt::ClearError();
    simt::SetSeed(1);
  }
  void TearDown() override { EXPECT_EQ(simt::LastError(), ""); }
};

TEST_F(AttentionTest, HeadSizes) {
  for (int head_dim : {16, 32, 64, 80, 96, 128}) {
    for (int tokens_per_page : {16, 64}) {
      AttentionSpec spec = {.heads = 6, .kv_heads = 2, .head_dim = head_dim};
      spec.tokens_per_page = tokens_per_page;
      spec.sequences = {{.length = 200}};
      spec.rows = SomeRows(200);
      ExpectFormsAgree(spec);
    }
  }
}

TEST_F(AttentionTest, GroupSizes) {
  for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 40, 64, 65}) {
    AttentionSpec spec = {.heads = group, .kv_heads = 1, .head_dim = 32};
    spec.sequences = {{.length = 140}};
    spec.rows = SomeRows(140);
    ExpectFormsAgree(spec);
  }
}

TEST_F(AttentionTest, Masks) {
  for (int window : {0, 1, 17, 64, 100}) {
    for (int sinks : {0, 4, 64, 70}) {
      for (bool nodiag : {false, true}) {
        AttentionSpec spec = {.heads = 2, .kv_heads = 1, .window = window, .nodiag = nodiag};
        spec.sinks = sinks;
        spec.tokens_per_page = 48;
        spec.sequences = {{.length = 300}};
        for (int p = 0; p < 300; p += 7) spec.rows.push_back({0, p});
        ExpectFormsAgree(spec);
      }
    }
  }
}

// Segments after a past in pages of their own, decode rows between them, and a row that sees
// nothing.
AttentionSpec Mixed() {
  AttentionSpec spec = {.heads = 4, .kv_heads = 2, .head_dim = 64, .window = 150, .sinks = 3};
  spec.sequences = {{.length = 300, .split = 200, .visible_end = 200},
                    {.length = 1},
                    {.length = 257},
                    {.length = 130, .split = 128},
                    {.length = 90, .split = 50, .visible_end = 0}};
  for (int i = 0; i < 45; ++i) spec.rows.push_back({0, 200 + i});
  spec.rows.push_back({1, 0});
  for (int i = 0; i < 9; ++i) spec.rows.push_back({2, 256 - 20 * i});
  for (int i = 0; i < 2; ++i) spec.rows.push_back({3, 128 + i});
  for (int i = 0; i < 30; ++i) spec.rows.push_back({4, 51 + i});
  for (int i = 0; i < 6; ++i) spec.rows.push_back({i % 4, i % 4 == 1 ? 0 : 128 + i % 2});
  return spec;
}

TEST_F(AttentionTest, Sequences) {
  AttentionSpec spec = Mixed();
  ExpectFormsAgree(spec);
  spec.nodiag = true;
  ExpectFormsAgree(spec);
}

TEST_F(AttentionTest, BatchesAndOrders) {
  const AttentionSpec spec = Mixed();
  const Problem problem(spec);
  const Bits all = problem.RunAll({});
  std::vector<int32_t> order = problem.All();
  std::reverse(order.begin(), order.end());
  ExpectEqual(problem.Pick(all, order), problem.Run(order, {}), "reversed");
  std::stable_partition(order.begin(), order.end(), [](int32_t r) { return r % 3 == 1; });
  ExpectEqual(problem.Pick(all, order), problem.Run(order, {}), "every third row first");
  for (int32_t batch : {1, 2, 5, 17, 33}) {
    for (int32_t begin = 0; begin < problem.rows(); begin += batch < 5 ? 11 * batch : batch) {
      std::vector<int32_t> some;
      for (int32_t r = begin; r < std::min(begin + batch, problem.rows()); ++r) some.push_back(r);
      ExpectEqual(problem.Pick(all, some), problem.Run(some, {}),
                  absl::StrCat(batch, " rows from ", begin));
    }
  }
}

TEST_F(AttentionTest, AnyOrderOfThreads) {
  AttentionSpec spec = {.heads = 3, .kv_heads = 1, .head_dim = 16, .window = 90, .sinks = 2};
  spec.sequences = {{.length = 250}};
  spec.rows = SomeRows(250);
  const Bits expected = Problem(spec).RunAll({});
  for (uint64_t seed = 2; seed < 30; ++seed) {
    simt::SetSeed(seed);
    const Problem problem(spec);
    ExpectEqual(expected, problem.RunAll({}), absl::StrCat("seed ", seed));
    ExpectEqual(expected, problem.RunAll({problem.rows(), 3, 8}), absl::StrCat("seed ", seed));
  }
}

TEST_F(AttentionTest, Plan) {
  AttentionParams params = {};
  params.rows = 1;
  params.decode_rows = 1;
  params.heads = 32;
  params.shape.kv_heads = 8;
  params.shape.head_dim = 128;
  params.max_position = 4095;
  const Workspace workspace = {nullptr, kWorkspaceBytes, 108};
  // Two blocks a multiprocessor.
  AttentionPlan plan = PlanAttention(params, workspace);
  EXPECT_EQ(plan.decode_rows, 1);
  EXPECT_EQ(plan.splits, 27);
  EXPECT_EQ(plan.slots, 64);
  // No more blocks than chunks.
  params.window = 128;
  params.sinks = 4;
  plan = PlanAttention(params, workspace);
  EXPECT_EQ(plan.splits, 5);
  EXPECT_EQ(plan.slots, 5);
  // Rows enough.
  params.window = 0;
  params.rows = params.decode_rows = 27;
  EXPECT_EQ(PlanAttention(params, workspace).splits, 1);
  // What the workspace holds.
  params.rows = params.decode_rows = 20;
  params.max_position = (1 << 20) - 1;
  plan = PlanAttention(params, workspace);
  EXPECT_EQ(plan.splits, 2);
  EXPECT_EQ(plan.slots, (64 << 20) / (20 * 32 * 130 * 4));
  EXPECT_EQ(PlanAttention(params, {nullptr, 1000, 108}).splits, 1);
  // Rows of segments are not split; a group that no tile holds is decoded.
  params.decode_rows = 0;
  EXPECT_EQ(PlanAttention(params, workspace).decode_rows, 0);
  params.shape.kv_heads = 1;
  params.heads = 65;
  EXPECT_EQ(PlanAttention(params, workspace).decode_rows, 20);
}

}  // namespace
}  // namespace lckv::gpu
