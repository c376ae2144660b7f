#include <bit>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/kv/page_layout.h"
#include "engine/model/checkpoint.h"

namespace lckv {
namespace {

// Doubles as their bits: no rounding, no locale.
std::string Bits(double value) {
  return absl::StrCat(absl::Hex(std::bit_cast<uint64_t>(value), absl::kZeroPad16));
}

// Text with one field a line, in a fixed order. Left out is what does not decide KV: names, special
// tokens.
std::string Describe(const ModelConfig& config) {
  std::string text = absl::StrCat(
      "hidden ", config.hidden_size, "\ninner ", config.intermediate_size, "\nlayers ",
      config.num_layers, "\nheads ", config.num_heads, "\nkv_heads ", config.num_kv_heads,
      "\nhead_dim ", config.head_dim, "\nvocab ", config.vocab_size, "\neps ",
      Bits(config.rms_norm_eps), "\ntied ", config.tied_embeddings, "\nattention_bias ",
      config.attention_bias, "\nmlp_bias ", config.mlp_bias, "\n");
  absl::StrAppend(&text, "map ", config.layer_map.ToString(), "\nnodiag ", config.force_nodiag,
                  "\nwindow ", config.sliding_window, "\nforward ", config.forward_passes,
                  "\nbackward ", config.backward_passes, "\nsequential ", config.use_sequential,
                  "\n");
  const RopeScaling& scaling = config.rope_scaling;
  absl::StrAppend(&text, "theta ", Bits(config.rope_theta), "\nscaling ",
                  static_cast<int>(scaling.kind), " ", Bits(scaling.factor), " ",
                  Bits(scaling.low_freq_factor), " ", Bits(scaling.high_freq_factor), " ",
                  scaling.original_max_positions, "\ndivisors");
  for (const double divisor : scaling.divisors) absl::StrAppend(&text, " ", Bits(divisor));
  return text + "\n";
}

}  // namespace

absl::StatusOr<Sha256Digest> Fingerprint(const Checkpoint& checkpoint, DType kv_dtype,
                                         int tokens_per_page) {
  LCKV_ASSIGN_OR_RETURN(const Sha256Digest weights, checkpoint.WeightsDigest());
  return Sha256Of(absl::StrCat("lckv fingerprint 1\nweights ", ToHex(weights), "\n",
                               Describe(checkpoint.config()), "kv ", static_cast<int>(kv_dtype),
                               "\npage_layout ", kPageLayoutVersion, "\ntokens_per_page ",
                               tokens_per_page, "\n"));
}

}  // namespace lckv
