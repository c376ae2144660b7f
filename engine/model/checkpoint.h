#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/sha256.h"
#include "engine/model/model_config.h"
#include "engine/tensor/host_matrix.h"

namespace lckv {

// The weights of one transformer block. Matrices are [out][in]; vectors are 1 x n. An absent bias
// has data == nullptr. k_proj, v_proj are present for producers only (superfluous ones in the file
// are ignored). Rows of q_proj and k_proj are in the rotate-half convention (pairs (i, i +
// head_dim/2)), whatever the file's convention.
struct LayerTensors {
  HostMatrix input_norm, post_attention_norm;
  HostMatrix q_proj, k_proj, v_proj, o_proj;
  HostMatrix q_bias, k_bias, v_bias, o_bias;
  HostMatrix gate_proj, up_proj, down_proj;
  HostMatrix gate_bias, up_bias, down_bias;
};

struct ModelTensors {
  HostMatrix embedding;  // [vocab][hidden]
  HostMatrix final_norm;
  HostMatrix lm_head;  // [vocab][hidden]; equals `embedding` (same data pointer) when tied
  std::vector<LayerTensors> layers;
};

// A model on disk: an HF directory (config.json + model.safetensors, or shards with
// model.safetensors.index.json; F32, F16, BF16), or a GGUF v3 file (F32, F16, BF16, Q8_0, Q4_1;
// architecture "llama"). Tensors point into mapped files (or into buffers owned here where rows had
// to be permuted) and live as long as this object. Thread-safe after Open.
class Checkpoint {
 public:
  struct Options {
    std::string layer_map;  // not empty: overrides the config's
  };
  // Made-up weights, for speed work.
  struct RandomWeights {
    uint64_t seed = 0;
    DType dtype = DType::kBf16;  // of matrices
    // Every layer has the bytes of layer 0 (its K/V projections those of the first producer): host
    // memory and time of one layer, whatever the depth. Backends still keep each layer's own copy,
    // and speed does not depend on values.
    bool repeat_layers = false;
  };

  // Opens and checks everything: each tensor's presence, shape and format, each offset. Errors name
  // file and tensor or field: NOT_FOUND (no such file, missing tensor), INVALID_ARGUMENT
  // (malformed, wrong shape), UNIMPLEMENTED (format not supported). A file that changes under an
  // open checkpoint is out of contract: replace files by rename.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path,
                                                          const Options& options);

  // Random weights for speed work: normal values with deviation 0.02, the same on every machine for
  // a seed, in `dtype`; norms are ones, biases float32. `config_json` as for
  // ModelConfig::FromHfJson. RESOURCE_EXHAUSTED when this machine has less memory.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Random(absl::string_view config_json,
                                                            uint64_t seed, DType dtype,
                                                            const Options& options);
  // The same for a validated config.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Random(ModelConfig config,
                                                            const RandomWeights& weights);
  virtual ~Checkpoint() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const ModelTensors& tensors() const = 0;
  // Where the tokenizer is: the GGUF file itself, or the directory's tokenizer.json. Empty: none
  // there.
  virtual const std::string& tokenizer_path() const = 0;
  // Jinja text of the chat template; empty when the checkpoint has none.
  virtual const std::string& chat_template() const = 0;
  // SHA-256 over all weight files' bytes (hashed in parallel) in a fixed order. Remembered per file
  // identity (device, inode, size, times) in $XDG_CACHE_HOME/lckv or ~/.cache/lckv so that a
  // restart is quick. Random weights: over what they are made from.
  virtual absl::StatusOr<Sha256Digest> WeightsDigest() const = 0;
};

// SHA-256 over weights digest, config (but for names and special tokens), layer map, RoPE
// parameters, KV dtype, page layout version and tokens per page. Two engines with equal
// fingerprints may exchange KV. Errors as Checkpoint::WeightsDigest.
absl::StatusOr<Sha256Digest> Fingerprint(const Checkpoint& checkpoint, DType kv_dtype,
                                         int tokens_per_page);

}  // namespace lckv
