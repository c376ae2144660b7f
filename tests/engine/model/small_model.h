#pragma once

// A Llama of two layers as HF directory and as GGUF file, for tests.

#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/model/test_files.h"

namespace lckv::testing {

struct SmallModel {
  static constexpr int kHidden = 32;
  static constexpr int kInner = 64;
  static constexpr int kLayers = 2;
  static constexpr int kHeads = 4;
  static constexpr int kKvHeads = 2;
  static constexpr int kHeadDim = 16;  // heads * head_dim is not hidden
  static constexpr int kVocab = 40;

  bool tied = false;
  bool bias = false;  // attention and MLP
};

inline nlohmann::json HfConfig(const SmallModel& model) {
  return {{"model_type", "llama"},
          {"hidden_size", SmallModel::kHidden},
          {"intermediate_size", SmallModel::kInner},
          {"num_hidden_layers", SmallModel::kLayers},
          {"num_attention_heads", SmallModel::kHeads},
          {"num_key_value_heads", SmallModel::kKvHeads},
          {"head_dim", SmallModel::kHeadDim},
          {"vocab_size", SmallModel::kVocab},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", model.tied},
          {"attention_bias", model.bias},
          {"mlp_bias", model.bias},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

// What a tensor is called in both formats, its shape and, for q and k, its heads.
struct SmallTensor {
  std::string hf_name;
  std::string gguf_name;
  int64_t rows = 1;
  int64_t cols = 1;
  int rotated_heads = 0;
};

inline std::vector<SmallTensor> TensorsOf(const SmallModel& model) {
  constexpr int kHidden = SmallModel::kHidden, kInner = SmallModel::kInner;
  constexpr int kQuery = SmallModel::kHeads * SmallModel::kHeadDim;
  constexpr int kKv = SmallModel::kKvHeads * SmallModel::kHeadDim;
  std::vector<SmallTensor> all = {
      {"model.embed_tokens.weight", "token_embd.weight", SmallModel::kVocab, kHidden},
      {"model.norm.weight", "output_norm.weight", 1, kHidden}};
  if (!model.tied) all.push_back({"lm_head.weight", "output.weight", SmallModel::kVocab, kHidden});
  for (int i = 0; i < SmallModel::kLayers; ++i) {
    const auto add = [&](const char* hf, const char* gguf, int64_t rows, int64_t cols,
                         int rotated_heads = 0) {
      const std::string hf_name = absl::StrCat("model.layers.", i, ".", hf);
      const std::string gguf_name = absl::StrCat("blk.", i, ".", gguf);
      all.push_back({hf_name + ".weight", gguf_name + ".weight", rows, cols, rotated_heads});
      if (!model.bias || rows == 1) return;
      all.push_back({hf_name + ".bias", gguf_name + ".bias", 1, rows, rotated_heads});
    };
    add("input_layernorm", "attn_norm", 1, kHidden);
    add("post_attention_layernorm", "ffn_norm", 1, kHidden);
    add("self_attn.q_proj", "attn_q", kQuery, kHidden, SmallModel::kHeads);
    add("self_attn.k_proj", "attn_k", kKv, kHidden, SmallModel::kKvHeads);
    add("self_attn.v_proj", "attn_v", kKv, kHidden);
    add("self_attn.o_proj", "attn_output", kHidden, kQuery);
    add("mlp.gate_proj", "ffn_gate", kInner, kHidden);
    add("mlp.up_proj", "ffn_up", kInner, kHidden);
    add("mlp.down_proj", "ffn_down", kHidden, kInner);
  }
  return all;
}

// The values of a tensor, in HF's row order; the same in every run.
inline std::vector<float> ValuesOf(const SmallTensor& tensor) {
  std::seed_seq seed(tensor.hf_name.begin(), tensor.hf_name.end());
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return values;
}

// What a converter to GGUF does to the rows of q and k: within a head, row (half s, i) goes to row
// 2i + s.
inline std::vector<float> Interleave(const std::vector<float>& values, int heads,
                                     int64_t row_size) {
  const int64_t half = static_cast<int64_t>(values.size()) / row_size / heads / 2;
  std::vector<float> out(values.size());
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t i = 0; i < half; ++i) {
        const int64_t from = head * 2 * half + s * half + i;
        const int64_t to = head * 2 * half + 2 * i + s;
        for (int64_t col = 0; col < row_size; ++col) {
          out[static_cast<size_t>(to * row_size + col)] =
              values[static_cast<size_t>(from * row_size + col)];
        }
      }
    }
  }
  return out;
}

using TensorFilter = std::function<bool(SmallTensor&)>;  // may change it; false drops it

inline void WriteHfModel(const TempDir& dir, const SmallModel& model, DType dtype = DType::kF32,
                         const TensorFilter& filter = nullptr) {
  dir.Write("config.json", HfConfig(model).dump());
  std::vector<TestTensor> tensors;
  for (SmallTensor t : TensorsOf(model)) {
    if (filter != nullptr && !filter(t)) continue;
    tensors.push_back(MakeTensor(t.hf_name, dtype, t.rows, t.cols, ValuesOf(t)));
  }
  dir.Write("model.safetensors", SafetensorsBytes(tensors));
}

inline GgufBuilder GgufKeys() {
  GgufBuilder file;
  file.String("general.architecture", "llama")
      .String("general.name", "small")
      .Int("llama.block_count", SmallModel::kLayers)
      .Int("llama.context_length", 512)
      .Int("llama.embedding_length", SmallModel::kHidden)
      .Int("llama.feed_forward_length", SmallModel::kInner)
      .Int("llama.attention.head_count", SmallModel::kHeads)
      .Int("llama.attention.head_count_kv", SmallModel::kKvHeads)
      .Int("llama.attention.key_length", SmallModel::kHeadDim)
      .Int("llama.attention.value_length", SmallModel::kHeadDim)
      .Float("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .Int("tokenizer.ggml.bos_token_id", 1)
      .Int("tokenizer.ggml.eos_token_id", 2);
  return file;
}

// Adds the tensors: vectors in float32, as converters do, matrices in `dtype`.
inline void AddGgufTensors(GgufBuilder& file, const SmallModel& model, DType dtype = DType::kF32,
                           const TensorFilter& filter = nullptr) {
  for (SmallTensor t : TensorsOf(model)) {
    if (filter != nullptr && !filter(t)) continue;
    std::vector<float> values = ValuesOf(t);
    if (t.rotated_heads > 0) {
      values = Interleave(values, t.rotated_heads, t.rows == 1 ? 1 : t.cols);
    }
    file.Tensor(MakeTensor(t.gguf_name, t.rows == 1 ? DType::kF32 : dtype, t.rows, t.cols, values));
  }
}

}  // namespace lckv::testing
