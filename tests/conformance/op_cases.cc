#include "tests/conformance/op_cases.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace lckv::testing {
namespace {

using Cases = std::vector<std::unique_ptr<OpCase>>;

// The formats that products of these activations read.
std::vector<DType> WeightTypes(DType activations) {
  if (activations == DType::kF32) {
    return {DType::kF32, DType::kF16, DType::kBf16, DType::kQ8_0, DType::kQ4_1};
  }
  return {DType::kBf16, DType::kI8, DType::kFp8, DType::kQ8_0, DType::kQ4_1};
}
constexpr DType kKvTypes[] = {DType::kF32, DType::kF16, DType::kBf16};

void AddLinear(Cases& cases, DType activations) {
  for (DType dtype : WeightTypes(activations)) {
    const int unit = UnitOf(dtype);
    const auto add = [&](int in_features, int out_features, int rows, bool bias, bool accumulate) {
      cases.push_back(
          MakeLinearCase({dtype, in_features, out_features, rows, bias, accumulate, activations}));
    };
    // Row counts around every tile height and block of rows; out_features around whole vectors and
    // panels.
    for (int rows : {0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 18, 25, 95, 96, 97, 200}) {
      const int out = rows % 2 == 0 ? 33 : 48;
      add(3 * unit, out, rows, rows % 3 == 1, rows % 4 == 1);
    }
    for (int out = 1; out <= 35; ++out) {
      add(2 * unit, out, 1 + out % 7, out % 2 == 0, out % 3 == 0);
    }
    for (int in : {1, 2, 3, 5, 7, 8, 15, 17, 31, 33, 63, 255, 256, 257, 511, 513, 600}) {
      const int features = (in + unit - 1) / unit * unit;
      for (int rows : {1, 4, 9}) add(features, 19, rows, true, true);
    }
    // Large enough for several threads.
    add(576, 200, 1, false, true);
    add(288, 100, 131, true, false);
    cases.push_back(MakeEmbedCase({dtype, 3 * unit, 35, 1, false, false}));
    cases.push_back(MakeEmbedCase({dtype, 96, 17, 1, false, false}));
  }
}

void AddRows(Cases& cases, DType activations) {
  for (int size = 1; size <= 36; ++size) {
    cases.push_back(MakeRmsNormCase({1 + size % 4, size, activations}));
    cases.push_back(MakeSwiGluCase({1 + size % 3, size, activations}));
    cases.push_back(MakeGatherRowsCase({1 + size % 5, size}));
    cases.push_back(MakeCopyRowsCase({1 + size % 4, size}));
  }
  for (const RowsSpec& spec : {RowsSpec{0, 16, activations}, RowsSpec{70, 576, activations},
                               RowsSpec{33, 1001, activations}}) {
    cases.push_back(MakeRmsNormCase(spec));
    cases.push_back(MakeSwiGluCase(spec));
    cases.push_back(MakeGatherRowsCase(spec));
    cases.push_back(MakeCopyRowsCase(spec));
  }
  for (int head_dim : {2, 4, 6, 16, 20, 30, 32, 34, 64, 80, 96, 128}) {
    cases.push_back(MakeRopeCase({1, 1, head_dim}));
    cases.push_back(MakeRopeCase({5, 3, head_dim}));
  }
  cases.push_back(MakeRopeCase({0, 3, 64}));
  cases.push_back(MakeRopeCase({61, 9, 64}));
}

// All positions of one sequence, in an order that is not sorted.
std::vector<RowSpec> AllRows(int length) {
  std::vector<RowSpec> rows;
  for (int p = length - 1; p >= 0; p -= 2) rows.push_back({0, p});
  for (int p = length % 2 == 0 ? 0 : 1; p < length; p += 2) rows.push_back({0, p});
  return rows;
}

void AddAttentionShapes(Cases& cases, DType activations) {
  for (DType dtype : kKvTypes) {
    for (int head_dim : {2, 4, 14, 16, 18, 20, 32, 34, 48, 64, 80, 128}) {
      for (const auto& [heads, kv_heads] : {std::pair{1, 1}, std::pair{6, 3}, std::pair{9, 3}}) {
        AttentionSpec spec = {
            .dtype = dtype, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
        spec.activations = activations;
        spec.sequences = {{.length = 21}};
        spec.rows = {{0, 20}, {0, 0}, {0, 15}, {0, 16}};
        cases.push_back(MakeAttentionCase(spec));
      }
    }
  }
  for (int group : {1, 2, 3, 4, 5, 7, 8}) {
    AttentionSpec spec = {.heads = 2 * group, .kv_heads = 2, .head_dim = 32};
    spec.activations = activations;
    spec.sequences = {{.length = 70}};
    spec.rows = {{0, 69}, {0, 3}, {0, 63}, {0, 64}};
    cases.push_back(MakeAttentionCase(spec));
  }
}

void AddAttentionRanges(Cases& cases, DType activations) {
  // Windows, hidden diagonals and limits against block, page and sequence borders: all rows of a
  // sequence at once.
  for (int window : {0, 1, 2, 15, 16, 17, 64, 65, 100}) {
    for (bool nodiag : {false, true}) {
      AttentionSpec spec = {
          .heads = 2, .kv_heads = 1, .head_dim = 16, .window = window, .nodiag = nodiag};
      spec.activations = activations;
      spec.sequences = {{.length = 135}};
      spec.rows = AllRows(135);
      cases.push_back(MakeAttentionCase(spec));
    }
  }
  // Sinks: within a chunk, to its border and beyond, before the window, touching it and inside it.
  for (int sinks : {1, 4, 63, 64, 65, 100, 200}) {
    for (int window : {0, 1, 30, 64, 100}) {
      AttentionSpec spec = {.heads = 2, .kv_heads = 1, .window = window, .sinks = sinks};
      spec.nodiag = window == 30;
      spec.activations = activations;
      spec.sequences = {{.length = 170, .visible_end = sinks == 4 ? 150 : INT32_MAX}};
      for (int p = sinks % 3; p < 170; p += 3) spec.rows.push_back({0, p});
      cases.push_back(MakeAttentionCase(spec));
    }
  }
  // A segment after a past, in pages of its own; visible_end as in the first pass, and in the
  // past's middle.
  for (int split : {1, 15, 16, 17, 63, 64, 70, 79}) {
    for (int visible_end : {INT32_MAX, split, 5, 0}) {
      for (bool nodiag : {false, true}) {
        AttentionSpec spec = {
            .heads = 3, .kv_heads = 1, .head_dim = 20, .window = split % 3 * 20, .nodiag = nodiag};
        spec.activations = activations;
        spec.sequences = {{.length = 80, .split = split, .visible_end = visible_end}};
        spec.rows = {{0, split}, {0, 79}, {0, split - 1}, {0, (split + 79) / 2}};
        cases.push_back(MakeAttentionCase(spec));
      }
    }
  }
  // Sequences of different kinds in one batch; the first pass of one beside the decoding of
  // another.
  AttentionSpec mixed = {.heads = 9, .kv_heads = 3, .head_dim = 64, .tokens_per_page = 64};
  mixed.activations = activations;
  mixed.sequences = {{.length = 300, .split = 200, .visible_end = 200},
                     {.length = 1},
                     {.length = 257},
                     {.length = 130, .split = 128}};
  for (int i = 0; i < 40; ++i) {
    mixed.rows.push_back({0, 200 + i});
    mixed.rows.push_back({2, 256 - i});
    mixed.rows.push_back({3, 128 + i % 2});
  }
  mixed.rows.push_back({1, 0});
  cases.push_back(MakeAttentionCase(mixed));
  mixed.rows.clear();
  cases.push_back(MakeAttentionCase(mixed));
}

void AddKv(Cases& cases) {
  for (DType dtype : kKvTypes) {
    for (int head_dim : {1, 2, 6, 14, 15, 16, 17, 18, 20, 30, 32, 33, 34, 64, 80, 128}) {
      KvSpec spec = {.dtype = dtype, .kv_heads = 1 + head_dim % 3, .head_dim = head_dim};
      spec.sequences = {{.length = 40}, {.length = 50, .split = 30}};
      spec.rows = {{0, 0},  {0, 15}, {0, 16}, {0, 39}, {1, 30},
                   {1, 31}, {1, 32}, {1, 47}, {1, 48}, {1, 49}};
      cases.push_back(MakeKvChangeCase(spec));
      if (head_dim % 2 != 0) continue;
      cases.push_back(MakeStoreKvCase(spec, false));
      cases.push_back(MakeStoreKvCase(spec, true));
      cases.push_back(MakeStoreKvCase(spec, head_dim % 4 == 0, true));
    }
    KvSpec many = {.dtype = dtype, .kv_heads = 3, .head_dim = 64, .tokens_per_page = 64};
    many.sequences = {{.length = 150}};
    many.rows = AllRows(150);
    cases.push_back(MakeStoreKvCase(many, false));
    cases.push_back(MakeStoreKvCase(many, true));
    cases.push_back(MakeKvChangeCase(many));
  }
}

void AddSampling(Cases& cases) {
  constexpr LogitsKind kKinds[] = {LogitsKind::kSpread,  LogitsKind::kFlat,    LogitsKind::kTies,
                                   LogitsKind::kEqual,   LogitsKind::kHoles,   LogitsKind::kWide,
                                   LogitsKind::kNothing, LogitsKind::kInfinite};
  for (int vocab = 1; vocab <= 70; ++vocab) {
    const auto kind = static_cast<size_t>(vocab % 5);  // the ones that leave a choice
    cases.push_back(MakeSampleCase({vocab, 2, kKinds[kind], 2 * vocab}));
  }
  // Every option on every kind; 64 equal tokens meet the borders of top_p.
  for (const LogitsKind kind : kKinds) {
    cases.push_back(MakeSampleCase({64, kind == LogitsKind::kEqual ? 56 : 28, kind, 0}));
  }
  for (const LogitsKind kind : kKinds) cases.push_back(MakeSampleCase({1000, 9, kind, 11}));
  for (int first : {0, 14}) cases.push_back(MakeSampleCase({32003, 2, LogitsKind::kSpread, first}));
  cases.push_back(MakeSampleCase({32003, 2, LogitsKind::kTies, 19}));
  cases.push_back(MakeSampleCase({100, 0}));
}

void AddPages(Cases& cases) {
  // A word more and a word less at every warp's and every row of words' border.
  for (int border = 0; border <= 1024; border += border < 512 ? 32 : 256) {
    for (int words = std::max(border - 1, 1); words <= border + 1; ++words) {
      cases.push_back(MakeCrc32cCase({1 + words % 3, words}));
    }
  }
  for (int words : {2, 3, 5, 17, 4096 / 4, 3 * 4096 / 4, 65536 / 4, 40 * 4096 / 4 + 1}) {
    cases.push_back(MakeCrc32cCase({2, words}));
  }
  cases.push_back(MakeCrc32cCase({0, 1024}));
  cases.push_back(MakeCrc32cCase({70, 300}));
}

}  // namespace

std::vector<std::unique_ptr<OpCase>> AllOpCases(DType activations) {
  Cases cases;
  AddLinear(cases, activations);
  AddRows(cases, activations);
  AddAttentionShapes(cases, activations);
  AddAttentionRanges(cases, activations);
  if (activations == DType::kBf16) {
    for (AttentionSpec spec : Bf16AttentionSpecs()) {
      spec.decode_rows = static_cast<int>(cases.size() % 4);
      cases.push_back(MakeAttentionCase(spec));
    }
  }
  AddKv(cases);
  AddSampling(cases);
  AddPages(cases);
  return cases;
}

std::vector<AttentionSpec> Bf16AttentionSpecs() {
  std::vector<AttentionSpec> specs;
  const auto add = [&specs](AttentionSpec spec) {
    spec.activations = DType::kBf16;
    spec.rounded_q = specs.size() % 3 != 0;
    specs.push_back(spec);
  };
  // Head sizes with and without tensor cores.
  for (int head_dim : {16, 20, 32, 48, 64, 80, 96, 112, 128}) {
    for (int tokens_per_page : {16, 64}) {
      AttentionSpec spec = {.heads = 4, .kv_heads = 2, .head_dim = head_dim};
      spec.tokens_per_page = tokens_per_page;
      spec.sequences = {{.length = 200}};
      spec.rows = {{0, 0}, {0, 15}, {0, 16}, {0, 63}, {0, 64}, {0, 150}, {0, 199}};
      add(spec);
    }
  }
  for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 65}) {
    AttentionSpec spec = {.heads = group, .kv_heads = 1, .head_dim = 32};
    spec.sequences = {{.length = 100}};
    for (int p = 50; p < 100; p += group) spec.rows.push_back({0, p});
    add(spec);
  }
  for (int window : {0, 1, 17, 64, 100}) {
    for (int sinks : {0, 4, 70}) {
      AttentionSpec spec = {.heads = 2, .kv_heads = 1, .window = window, .sinks = sinks};
      spec.nodiag = sinks == 4;
      spec.sequences = {{.length = 230}};
      for (int p = 0; p < 230; p += 9) spec.rows.push_back({0, p});
      add(spec);
    }
  }
  for (int visible_end : {INT32_MAX, 70, 5, 0}) {
    AttentionSpec spec = {.heads = 3, .kv_heads = 1, .head_dim = 64};
    spec.sequences = {{.length = 130, .split = 70, .visible_end = visible_end}, {.length = 40}};
    for (int p = 70; p < 130; p += 5) spec.rows.push_back({0, p});
    spec.rows.push_back({1, 39});
    spec.rows.push_back({1, 3});
    add(spec);
  }
  return specs;
}

}  // namespace lckv::testing
