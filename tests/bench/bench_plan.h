#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/plan/paper_table.h"

namespace lckv::bench {

// A batch from nothing to its last token: `prompt` tokens encoded, `generated` generated each.
struct BatchRow {
  int32_t prompt = 0;
  int32_t generated = 0;
};

// What is measured with one engine: one model with one layer map.
struct Group {
  std::string model;  // of PaperModel, or "tiny"
  int warmup = 0;     // layers with KV of their own beside the condensed block; 0: the full map
  double weight = 1;  // its share of the time that is left when it begins
  std::vector<BatchRow> rows;
};

// Most important first. `tiny`: shapes that a simulated GPU takes seconds for.
std::vector<Group> AllGroups(bool tiny);

// "full", "w2", "w10".
std::string MapName(int warmup);

// As PaperModel; "tiny" as well.
absl::StatusOr<ModelConfig> BenchModel(const std::string& model, int warmup);

// What the paper reached with its largest batch; null: not in Table 1. Of several devices the a100.
const PaperRow* PaperRowOf(const std::string& model, const BatchRow& row);

// Lengths that cases without a row use.
struct CaseSizes {
  int32_t decode_context = 512;
  int32_t decode_steps = 64;  // of batch 1
  int32_t batch_steps = 12;   // of each point of a row
  int32_t encode_prompt = 2048;
  int32_t encode_tokens = 16384;  // at most, of the prompts that are encoded together
  int32_t page_tokens = 2048;
};
CaseSizes SizesOf(bool tiny);

}  // namespace lckv::bench
