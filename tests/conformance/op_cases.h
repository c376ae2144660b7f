#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"

namespace lckv::testing {

// What one run of an op left behind.
struct OpOutcome {
  std::vector<float> values;  // the op's output, for all rows asked for
  std::string stray_write;    // where a byte around the output changed; empty: nowhere
};

// One op with shapes, formats and data. The same table runs on every backend: data reaches the op
// through the backend's own memory only. Inputs come from a seed and are the same on every
// platform. Immutable.
class OpCase {
 public:
  virtual ~OpCase() = default;
  // Everything that tells this case from the others, for failure messages.
  virtual std::string Describe() const = 0;
  virtual int rows() const = 0;
  // Calls the op for rows [begin, end) alone.
  virtual OpOutcome Run(Backend& backend, int begin, int end) const = 0;
  // For each value of all rows the largest difference from the reference backend that float32
  // rounding explains, from the norms of the inputs. Zero: the same bits.
  virtual std::vector<float> Tolerance() const = 0;
};

// `activations` of a spec: the backend's activation_dtype(); the slow twin gets the same values as
// float32.
struct LinearSpec {
  DType dtype = DType::kF32;
  int in_features = 32;
  int out_features = 16;
  int rows = 1;
  bool bias = false;
  bool accumulate = false;
  DType activations = DType::kF32;
};
struct RowsSpec {  // RmsNorm, SwiGlu, GatherRows, CopyRows
  int rows = 1;
  int size = 16;
  DType activations = DType::kF32;
};
struct RopeSpec {
  int rows = 1;
  int heads = 1;
  int head_dim = 16;
};

// A sequence with stored keys and values. Positions before `split` lie in past pages, the rest in
// own pages whose first is the page of `split`; unused slots hold NaN. split == 0: one set of
// pages.
struct SequenceSpec {
  int length = 1;
  int split = 0;
  int visible_end = INT32_MAX;
};
struct RowSpec {
  int sequence = 0;
  int position = 0;
};
struct AttentionSpec {
  DType dtype = DType::kBf16;
  int heads = 1;
  int kv_heads = 1;
  int head_dim = 16;
  int tokens_per_page = 16;
  int window = 0;
  bool nodiag = false;
  int sinks = 0;
  std::vector<SequenceSpec> sequences = {};
  std::vector<RowSpec> rows = {};
  DType activations = DType::kF32;
  // bf16 activations: queries that stay as they are when a kernel rounds them.
  bool rounded_q = false;
  int decode_rows = 0;  // as in AttentionParams, or all rows if they are fewer
};
struct KvSpec {  // StoreKv, KvChange: one row for each (sequence, position)
  DType dtype = DType::kBf16;
  int kv_heads = 1;
  int head_dim = 16;
  int tokens_per_page = 16;
  std::vector<SequenceSpec> sequences = {};
  std::vector<RowSpec> rows = {};
};

struct PagesSpec {  // Crc32c
  int pages = 1;
  int words = 1;  // of 4 bytes
};

enum class LogitsKind {
  kSpread,
  kFlat,
  kTies,      // a few values, each many times
  kEqual,     // one value
  kHoles,     // NaN, minus infinity, zeros of both signs
  kWide,      // the far ends of float32
  kNothing,   // NaN and minus infinity only
  kInfinite,  // some are plus infinity
};
struct SampleSpec {  // each row has its own options and seed
  int vocab = 1;
  int rows = 1;
  LogitsKind kind = LogitsKind::kSpread;
  int first_option = 0;
};

std::unique_ptr<OpCase> MakeLinearCase(const LinearSpec& spec);
// Every row of the table is looked up; spec.rows, bias and accumulate are not used.
std::unique_ptr<OpCase> MakeEmbedCase(const LinearSpec& spec);
std::unique_ptr<OpCase> MakeRmsNormCase(const RowsSpec& spec);
std::unique_ptr<OpCase> MakeSwiGluCase(const RowsSpec& spec);
std::unique_ptr<OpCase> MakeGatherRowsCase(const RowsSpec& spec);
std::unique_ptr<OpCase> MakeCopyRowsCase(const RowsSpec& spec);
std::unique_ptr<OpCase> MakeRopeCase(const RopeSpec& spec);
std::unique_ptr<OpCase> MakeAttentionCase(const AttentionSpec& spec);
// RopeAndStore without queries; MakeRopeCase: with nothing else. `looked_up`: rows by
// KvRows::source.
std::unique_ptr<OpCase> MakeStoreKvCase(const KvSpec& spec, bool rotated, bool looked_up = false);
std::unique_ptr<OpCase> MakeKvChangeCase(const KvSpec& spec);
std::unique_ptr<OpCase> MakeSampleCase(const SampleSpec& spec);
std::unique_ptr<OpCase> MakeCrc32cCase(const PagesSpec& spec);

// The table: every op over all remainders of vector widths and tiles, formats, page boundaries; for
// backends whose products read `activations`.
std::vector<std::unique_ptr<OpCase>> AllOpCases(DType activations);
// Its attention for tensor cores: bf16 K, V and activations.
std::vector<AttentionSpec> Bf16AttentionSpecs();

}  // namespace lckv::testing
