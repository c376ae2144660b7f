#include "tests/conformance/backend_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/kv_memory.h"

namespace lckv::testing {
namespace {

// Reports the worst value by how far it exceeds its tolerance.
void ExpectClose(const OpCase& op_case, const std::vector<float>& expected,
                 const std::vector<float>& actual) {
  const std::vector<float> tolerance = op_case.Tolerance();
  ASSERT_EQ(actual.size(), expected.size()) << op_case.Describe();
  ASSERT_EQ(tolerance.size(), expected.size()) << op_case.Describe();
  size_t worst = 0;
  double worst_excess = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i] || (std::isnan(expected[i]) && std::isnan(actual[i]))) continue;
    const double difference = std::abs(static_cast<double>(expected[i]) - actual[i]);
    const double excess = difference <= tolerance[i] ? 0 : difference - tolerance[i];
    // A NaN or an infinity where a number belongs is as bad as it gets.
    const double rank = std::isfinite(excess) ? excess : HUGE_VAL;
    if (rank > worst_excess) {
      worst_excess = rank;
      worst = i;
    }
  }
  EXPECT_EQ(worst_excess, 0) << op_case.Describe() << "\n  value " << worst << " of "
                             << expected.size() << ": expected " << expected[worst] << ", actual "
                             << actual[worst] << ", tolerance " << tolerance[worst];
}

void ExpectSameBits(const std::string& what, const float* expected, const float* actual,
                    size_t count) {
  if (count == 0 || std::memcmp(expected, actual, count * sizeof(float)) == 0) return;
  size_t i = 0;
  while (std::memcmp(expected + i, actual + i, sizeof(float)) == 0) ++i;
  ADD_FAILURE() << what << "\n  value " << i << " of " << count << ": " << std::hexfloat
                << expected[i] << " became " << actual[i];
}

// Rows of queries and of K and V in backend memory, the same in each.
struct RopeRows {
  static constexpr int kHeads = 5, kKvHeads = 3, kHeadDim = 20, kRows = 7;

  RopeRows(Backend& backend, DType dtype)
      : spec({dtype,
              kKvHeads,
              kHeadDim,
              16,
              {{.length = 40}},
              {{0, 14}, {0, 15}, {0, 16}, {0, 17}, {0, 0}, {0, 39}, {0, 32}}}),
        memory(backend, spec, nullptr, 0x3A),
        q(backend, Gaussian(kRows * kHeads * kHeadDim, 91)),
        k(backend, Gaussian(kRows * kKvHeads * kHeadDim, 92)),
        v(backend, Gaussian(kRows * kKvHeads * kHeadDim, 93)),
        positions(backend, std::vector<int32_t>{14, 15, 16, 17, 0, 39, 32}),
        tables(backend, std::vector<int32_t>(kRows, 0)),
        cos_sin(backend, RotaryTable(40, kHeadDim)) {}

  QueryRows Queries(int rows) const {
    return {q.data(), positions.as<int32_t>(), rows, kHeads, kHeadDim};
  }
  // K as heads to be rotated in place.
  QueryRows Keys(int rows) const {
    return {k.data(), positions.as<int32_t>(), rows, kKvHeads, kHeadDim};
  }
  KvRows Kv(int rows) const {
    return {k.data(),
            v.data(),
            nullptr,
            positions.as<int32_t>(),
            tables.as<int32_t>(),
            memory.tables(),
            memory.shape(),
            spec.dtype,
            rows};
  }
  void Run(Backend& backend, bool rotated, const QueryRows& queries, const KvRows& kv) const {
    backend.RopeAndStore({rotated ? cos_sin.as<float>() : nullptr, queries, kv});
  }
  // All queries, then everything stored; nothing else may have changed.
  std::vector<float> Read() const {
    std::string stray_write;
    std::vector<float> values = q.Read(&stray_write);
    EXPECT_EQ(stray_write, "");
    for (float value : memory.ReadRows(spec.rows, &stray_write)) values.push_back(value);
    EXPECT_EQ(stray_write, "");
    return values;
  }

  const KvSpec spec;
  const KvMemory memory;
  const GuardedOutput q, k, v;
  const DeviceArray positions, tables, cos_sin;
};

}  // namespace

OpOutcome RunAll(const OpCase& op_case, Backend& backend) {
  OpOutcome outcome = op_case.Run(backend, 0, op_case.rows());
  EXPECT_EQ(outcome.stray_write, "") << op_case.Describe();
  return outcome;
}

void ExpectSameBits(const std::string& what, const std::vector<float>& expected,
                    const std::vector<float>& actual) {
  ASSERT_EQ(expected.size(), actual.size()) << what;
  ExpectSameBits(what, expected.data(), actual.data(), expected.size());
}

void ExpectAgreesWithReference(Backend& backend) {
  const std::unique_ptr<Backend> reference = MakeReferenceBackend();
  for (const auto& op_case : AllOpCases(backend.activation_dtype())) {
    const OpOutcome expected = RunAll(*op_case, *reference);
    ExpectClose(*op_case, expected.values, RunAll(*op_case, backend).values);
  }
}

void ExpectBatchDoesNotChangeBits(Backend& backend) {
  for (const auto& op_case : AllOpCases(backend.activation_dtype())) {
    const int rows = op_case->rows();
    if (rows < 2) continue;
    const OpOutcome all = RunAll(*op_case, backend);
    const size_t row_size = all.values.size() / static_cast<size_t>(rows);
    for (int batch : {1, 2, 5, 17, 70}) {
      // The first batches cover the borders; all of them would take minutes on the larger cases.
      const int last = batch == 1 ? std::min(rows, 24) : std::min(rows, batch);
      for (int begin = 0; begin < last; begin += batch) {
        const int end = std::min(begin + batch, rows);
        const OpOutcome some = op_case->Run(backend, begin, end);
        ExpectSameBits(op_case->Describe() + " rows from " + std::to_string(begin),
                       all.values.data() + static_cast<size_t>(begin) * row_size,
                       some.values.data(), some.values.size());
      }
    }
  }
}

void ExpectRopeAndStoreIsItsParts(Backend& backend) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const auto& [queries, kv] : {std::pair{7, 7}, {7, 0}, {0, 7}, {2, 5}, {5, 2}, {0, 0}}) {
      const RopeRows together(backend, dtype);
      together.Run(backend, true, together.Queries(queries), together.Kv(kv));
      const RopeRows apart(backend, dtype);
      apart.Run(backend, true, apart.Queries(queries), {});
      apart.Run(backend, true, apart.Keys(kv), {});
      apart.Run(backend, false, {}, apart.Kv(kv));
      ExpectSameBits(absl::StrCat("rope and store, ", Name(dtype), ", rows ", queries, " and ", kv),
                     apart.Read(), together.Read());
    }
  }
}

void ExpectPagesDoNotChangeAttention(Backend& backend, int split_step) {
  AttentionSpec spec = {.heads = 3, .kv_heads = 1, .head_dim = 20};
  spec.activations = backend.activation_dtype();
  spec.sequences = {{.length = 141}};
  for (int p : {0, 1, 63, 64, 65, 127, 128, 140}) spec.rows.push_back({0, p});
  for (int window : {0, 70}) {
    spec.window = window;
    spec.sequences[0].split = 0;
    spec.tokens_per_page = 16;
    const auto whole = MakeAttentionCase(spec);
    const OpOutcome expected = RunAll(*whole, backend);
    for (int tokens_per_page : {16, 48, 64, 256}) {
      spec.tokens_per_page = tokens_per_page;
      for (int split = 0; split < 141; split += split_step) {
        spec.sequences[0].split = split;
        const auto op_case = MakeAttentionCase(spec);
        ExpectSameBits(op_case->Describe(), expected.values, RunAll(*op_case, backend).values);
      }
    }
  }
}

}  // namespace lckv::testing
