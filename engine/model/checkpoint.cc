#include "engine/model/checkpoint.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/mutex.h"
#include "base/status_macros.h"
#include "engine/model/tensor_source.h"
#include "engine/model/weights_digest.h"

namespace lckv {
namespace {

class LoadedCheckpoint final : public Checkpoint {
 public:
  explicit LoadedCheckpoint(CheckpointParts parts) : parts_(std::move(parts)) {}

  const ModelConfig& config() const override { return parts_.config; }
  const ModelTensors& tensors() const override { return parts_.tensors; }
  const std::string& tokenizer_path() const override { return parts_.tokenizer_path; }
  const std::string& chat_template() const override { return parts_.chat_template; }

  absl::StatusOr<Sha256Digest> WeightsDigest() const override {
    MutexLock lock(mu_);
    if (!digest_.has_value()) {
      digest_ = parts_.files.empty() ? Sha256Of(parts_.generated_from)
                                     : DigestWeights(parts_.files, DefaultDigestCacheDir());
    }
    return *digest_;
  }

 private:
  const CheckpointParts parts_;
  mutable Mutex mu_;
  mutable std::optional<Sha256Digest> digest_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path,
                                                             const Options& options) {
  std::error_code ignored;  // opening says what is wrong with the path
  const bool is_directory = std::filesystem::is_directory(path, ignored);
  LCKV_ASSIGN_OR_RETURN(CheckpointParts parts,
                        is_directory ? OpenHfDirectory(path, options) : OpenGguf(path, options));
  return std::make_unique<LoadedCheckpoint>(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Random(absl::string_view config_json,
                                                               uint64_t seed, DType dtype,
                                                               const Options& options) {
  LCKV_ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromHfJson(config_json, ""));
  if (!options.layer_map.empty()) {
    LCKV_RETURN_IF_ERROR(config.OverrideLayerMap(options.layer_map));
  }
  return Random(std::move(config), {.seed = seed, .dtype = dtype});
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Random(ModelConfig config,
                                                               const RandomWeights& weights) {
  LCKV_ASSIGN_OR_RETURN(CheckpointParts parts, MakeRandom(std::move(config), weights));
  return std::make_unique<LoadedCheckpoint>(std::move(parts));
}

}  // namespace lckv
