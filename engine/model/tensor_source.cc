#include "engine/model/tensor_source.h"

#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {

const TensorNames kHfNames = {
    .embedding = "model.embed_tokens.weight",
    .final_norm = "model.norm.weight",
    .lm_head = "lm_head.weight",
    .layer = "model.layers.",
    .input_norm = "input_layernorm",
    .post_attention_norm = "post_attention_layernorm",
    .q_proj = "self_attn.q_proj",
    .k_proj = "self_attn.k_proj",
    .v_proj = "self_attn.v_proj",
    .o_proj = "self_attn.o_proj",
    .gate_proj = "mlp.gate_proj",
    .up_proj = "mlp.up_proj",
    .down_proj = "mlp.down_proj",
};

const TensorNames kGgufNames = {
    .embedding = "token_embd.weight",
    .final_norm = "output_norm.weight",
    .lm_head = "output.weight",
    .layer = "blk.",
    .input_norm = "attn_norm",
    .post_attention_norm = "ffn_norm",
    .q_proj = "attn_q",
    .k_proj = "attn_k",
    .v_proj = "attn_v",
    .o_proj = "attn_output",
    .gate_proj = "ffn_gate",
    .up_proj = "ffn_up",
    .down_proj = "ffn_down",
};

namespace {

// Loads the tensors of one layer.
class LayerLoader {
 public:
  LayerLoader(TensorSource& source, const std::string& prefix) : source_(source), prefix_(prefix) {}

  absl::Status Norm(const char* part, int64_t size, HostMatrix& norm) {
    LCKV_ASSIGN_OR_RETURN(norm, source_.Load(absl::StrCat(prefix_, part, ".weight"), 1, size));
    return absl::OkStatus();
  }

  absl::Status Projection(const char* part, int64_t rows, int64_t cols, bool has_bias,
                          HostMatrix& weight, HostMatrix& bias) {
    LCKV_ASSIGN_OR_RETURN(weight, source_.Load(absl::StrCat(prefix_, part, ".weight"), rows, cols));
    if (!has_bias) return absl::OkStatus();
    LCKV_ASSIGN_OR_RETURN(bias, source_.Load(absl::StrCat(prefix_, part, ".bias"), 1, rows));
    return absl::OkStatus();
  }

 private:
  TensorSource& source_;
  const std::string prefix_;
};

absl::StatusOr<LayerTensors> LoadLayer(const ModelConfig& config, const TensorNames& names,
                                       int layer, TensorSource& source) {
  LayerLoader loader(source, absl::StrCat(names.layer, layer, "."));
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t query = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv = int64_t{config.num_kv_heads} * config.head_dim;
  LayerTensors t;
  LCKV_RETURN_IF_ERROR(loader.Norm(names.input_norm, hidden, t.input_norm));
  LCKV_RETURN_IF_ERROR(loader.Norm(names.post_attention_norm, hidden, t.post_attention_norm));
  const bool bias = config.attention_bias;
  LCKV_RETURN_IF_ERROR(loader.Projection(names.q_proj, query, hidden, bias, t.q_proj, t.q_bias));
  if (config.layer_map.is_producer(layer)) {
    LCKV_RETURN_IF_ERROR(loader.Projection(names.k_proj, kv, hidden, bias, t.k_proj, t.k_bias));
    LCKV_RETURN_IF_ERROR(loader.Projection(names.v_proj, kv, hidden, bias, t.v_proj, t.v_bias));
  }
  LCKV_RETURN_IF_ERROR(loader.Projection(names.o_proj, hidden, query, bias, t.o_proj, t.o_bias));
  const bool mlp_bias = config.mlp_bias;
  LCKV_RETURN_IF_ERROR(
      loader.Projection(names.gate_proj, inner, hidden, mlp_bias, t.gate_proj, t.gate_bias));
  LCKV_RETURN_IF_ERROR(
      loader.Projection(names.up_proj, inner, hidden, mlp_bias, t.up_proj, t.up_bias));
  LCKV_RETURN_IF_ERROR(
      loader.Projection(names.down_proj, hidden, inner, mlp_bias, t.down_proj, t.down_bias));
  return t;
}

}  // namespace

absl::StatusOr<ModelTensors> LoadTensors(const ModelConfig& config, const TensorNames& names,
                                         TensorSource& source) {
  ModelTensors tensors;
  LCKV_ASSIGN_OR_RETURN(tensors.embedding,
                        source.Load(names.embedding, config.vocab_size, config.hidden_size));
  LCKV_ASSIGN_OR_RETURN(tensors.final_norm, source.Load(names.final_norm, 1, config.hidden_size));
  if (config.tied_embeddings) {
    tensors.lm_head = tensors.embedding;
  } else {
    LCKV_ASSIGN_OR_RETURN(tensors.lm_head,
                          source.Load(names.lm_head, config.vocab_size, config.hidden_size));
  }
  for (int layer = 0; layer < config.num_layers; ++layer) {
    LCKV_ASSIGN_OR_RETURN(LayerTensors loaded, LoadLayer(config, names, layer, source));
    tensors.layers.push_back(loaded);
  }
  return tensors;
}

absl::Status CheckShape(const HostMatrix& matrix, int64_t rows, int64_t cols,
                        absl::string_view file, absl::string_view tensor) {
  if (matrix.rows == rows && matrix.cols == cols) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": tensor \"", tensor, "\" is [", matrix.rows, "][", matrix.cols,
                   "], the config calls for [", rows, "][", cols, "]"));
}

absl::StatusOr<std::unique_ptr<uint8_t[]>> AllocateBytes(int64_t size_bytes) {
  std::unique_ptr<uint8_t[]> buffer(new (std::nothrow) uint8_t[static_cast<size_t>(size_bytes)]());
  if (buffer == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", size_bytes, " bytes"));
  }
  return buffer;
}

}  // namespace lckv
