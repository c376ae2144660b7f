#include "tests/bench/bench_plan.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv::bench {

std::vector<Group> AllGroups(bool tiny) {
  if (tiny) return {{"tiny", 0, 1, {{12, 20}}}, {"tiny", 2, 1, {{12, 20}, {5, 27}}}};
  const std::vector<BatchRow> rows7 = {{2048, 2048}, {512, 1024}, {5, 2043}};
  const std::vector<BatchRow> long_rows = {{2048, 2048}};
  return {{"7B", 0, 4, rows7},       {"7B", 2, 4, rows7},       {"30B", 0, 3, long_rows},
          {"30B", 2, 4, long_rows},  {"7B", 10, 3, rows7},      {"30B", 10, 3, long_rows},
          {"1.1B", 0, 2, long_rows}, {"1.1B", 2, 2, long_rows}, {"1.1B", 10, 1, long_rows}};
}

std::string MapName(int warmup) { return warmup == 0 ? "full" : absl::StrCat("w", warmup); }

absl::StatusOr<ModelConfig> BenchModel(const std::string& model, int warmup) {
  if (model != "tiny") return PaperModel(model, warmup);
  LCKV_ASSIGN_OR_RETURN(ModelConfig config, PaperModel("1.1B", 0));
  config.name = model;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_layers = 6;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 128;
  config.max_positions = 256;
  config.layer_map = LayerMap::Identity(config.num_layers);
  if (warmup > 0) {
    config.force_nodiag = true;
    LCKV_RETURN_IF_ERROR(config.OverrideLayerMap("0_4_4_4_4_5"));
  }
  LCKV_RETURN_IF_ERROR(config.Validate());
  return config;
}

const PaperRow* PaperRowOf(const std::string& model, const BatchRow& row) {
  const PaperRow* found = nullptr;
  for (const PaperRow& paper : PaperTable()) {
    if (paper.model == model && paper.prompt_tokens == row.prompt &&
        paper.generated_tokens == row.generated) {
      found = &paper;  // the a100's come last
    }
  }
  return found;
}

CaseSizes SizesOf(bool tiny) {
  if (!tiny) return {};
  return {.decode_context = 12,
          .decode_steps = 6,
          .batch_steps = 4,
          .encode_prompt = 12,
          .encode_tokens = 24,
          .page_tokens = 20};
}

}  // namespace lckv::bench
