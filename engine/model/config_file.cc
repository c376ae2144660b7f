#include "engine/model/config_file.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "base/status_macros.h"
#include "engine/model/gguf_file.h"
#include "engine/model/mapped_file.h"
#include "engine/model/tensor_source.h"

namespace lckv {
namespace {

constexpr int64_t kMaxJsonBytes = int64_t{1} << 20;

absl::StatusOr<ModelConfig> ReadHfConfig(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path, kMaxJsonBytes));
  absl::StatusOr<ModelConfig> config = ModelConfig::FromHfJson(json, "");
  LCKV_RETURN_IF_ERROR(Annotate(config.status(), path));
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& path) {
  std::error_code ignored;  // opening says what is wrong with the path
  if (std::filesystem::is_directory(path, ignored)) {
    return ReadHfConfig(path + "/config.json");
  }
  if (absl::EndsWith(path, ".json")) return ReadHfConfig(path);
  LCKV_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  return ReadGgufConfig(file);
}

}  // namespace lckv
