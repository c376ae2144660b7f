#include "engine/model/config_file.h"

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/gguf_file.h"
#include "engine/model/mapped_file.h"
#include "engine/model/tensor_source.h"

namespace lckv {
namespace {

constexpr int64_t kMaxJsonBytes = int64_t{1} << 20;

absl::StatusOr<std::string> ReadJson(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.size_bytes() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file.size_bytes(), " bytes, more than ", kMaxJsonBytes));
  }
  return std::string(file.view());
}

absl::StatusOr<ModelConfig> ReadHfConfig(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(const std::string json, ReadJson(path));
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
