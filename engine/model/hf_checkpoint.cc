// Checkpoints in Hugging Face's directory layout.

#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/json_fields.h"
#include "engine/model/mapped_file.h"
#include "engine/model/safetensors_file.h"
#include "engine/model/tensor_source.h"

namespace lckv {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTextBytes = int64_t{64} << 20;
constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
constexpr size_t kMaxShards = 1000;
constexpr size_t kMaxTensors = 100'000;

absl::StatusOr<std::string> ReadText(const std::string& path) {
  return ReadTextFile(path, kMaxTextBytes);
}

// As ReadText, but "" when there is no such file.
absl::StatusOr<std::string> ReadOptionalText(const std::string& path) {
  absl::StatusOr<std::string> text = ReadText(path);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

class SafetensorsSource final : public TensorSource {
 public:
  // model.safetensors, or the shards of model.safetensors.index.json.
  absl::Status Open(const std::string& directory) {
    const std::string whole = directory + "/model.safetensors";
    absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(whole);
    if (file.ok()) {
      files_.emplace("", *std::move(file));
      return absl::OkStatus();
    }
    if (!absl::IsNotFound(file.status())) return file.status();
    index_path_ = whole + ".index.json";
    absl::StatusOr<std::string> index = ReadText(index_path_);
    if (absl::IsNotFound(index.status())) {
      return absl::NotFoundError(
          absl::StrCat(directory, ": neither model.safetensors nor model.safetensors.index.json"));
    }
    LCKV_RETURN_IF_ERROR(index.status());
    return OpenShards(directory, *index);
  }

  absl::StatusOr<HostMatrix> Load(const std::string& name, int64_t rows, int64_t cols) override {
    LCKV_ASSIGN_OR_RETURN(const SafetensorsFile* file, FileOf(name));
    LCKV_ASSIGN_OR_RETURN(const HostMatrix matrix, file->Tensor(name));
    LCKV_RETURN_IF_ERROR(CheckShape(matrix, rows, cols, file->path(), name));
    return matrix;
  }

  // Ordered by file name.
  std::vector<std::shared_ptr<const MappedFile>> files() const {
    std::vector<std::shared_ptr<const MappedFile>> mapped;
    for (const auto& [name, file] : files_) mapped.push_back(file.file());
    return mapped;
  }

 private:
  absl::Status OpenShards(const std::string& directory, const std::string& index) {
    LCKV_ASSIGN_OR_RETURN(const json root, ParseJsonObject(index, index_path_));
    const json* map = JsonFields(root, index_path_).Find("weight_map");
    if (map == nullptr || !map->is_object() || map->size() > kMaxTensors) {
      return absl::InvalidArgumentError(
          absl::StrCat(index_path_, ": weight_map: missing, not an object or too large"));
    }
    for (const auto& [tensor, shard] : map->items()) {
      if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>())) {
        return absl::InvalidArgumentError(absl::StrCat(index_path_, ": weight_map: \"", tensor,
                                                       "\" is not in a file of this directory"));
      }
      const auto& name = shard.get_ref<const std::string&>();
      shard_of_.emplace(tensor, name);
      if (files_.count(name) != 0) continue;
      if (files_.size() == kMaxShards) {
        return absl::InvalidArgumentError(
            absl::StrCat(index_path_, ": weight_map: more than ", kMaxShards, " files"));
      }
      LCKV_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(directory + "/" + name));
      files_.emplace(name, std::move(file));
    }
    return absl::OkStatus();
  }

  // A name that cannot lead out of its directory.
  static bool IsPlainFileName(absl::string_view name) {
    return !name.empty() && name != "." && name != ".." &&
           name.find_first_of(absl::string_view("/\0", 2)) == absl::string_view::npos;
  }

  absl::StatusOr<const SafetensorsFile*> FileOf(const std::string& tensor) const {
    if (index_path_.empty()) return &files_.begin()->second;
    const auto shard = shard_of_.find(tensor);
    if (shard == shard_of_.end()) {
      return absl::NotFoundError(absl::StrCat(index_path_, ": no tensor \"", tensor, "\""));
    }
    return &files_.at(shard->second);
  }

  std::string index_path_;                        // empty: one file
  std::map<std::string, SafetensorsFile> files_;  // by name; one file: under ""
  std::map<std::string, std::string> shard_of_;   // tensor -> file name
};

// tokenizer_config.json has the template as a string or as a list of named ones; newer checkpoints
// keep it in a file of its own, which wins.
absl::StatusOr<std::string> ReadChatTemplate(const std::string& directory) {
  LCKV_ASSIGN_OR_RETURN(std::string text, ReadOptionalText(directory + "/chat_template.jinja"));
  if (!text.empty()) return text;

  const std::string path = directory + "/tokenizer_config.json";
  LCKV_ASSIGN_OR_RETURN(text, ReadOptionalText(path));
  if (text.empty()) return text;
  LCKV_ASSIGN_OR_RETURN(const json root, ParseJsonObject(text, path));
  const JsonFields fields(root, path);
  const json* value = fields.Find("chat_template");
  if (value == nullptr || !value->is_array()) return fields.String("chat_template", "");
  for (const json& item : *value) {
    if (!item.is_object()) return fields.Error("chat_template", "an item is not an object");
    const JsonFields named(item, absl::StrCat(path, ": chat_template"));
    LCKV_ASSIGN_OR_RETURN(const std::string name, named.String("name"));
    if (name == "default") return named.String("template");
  }
  return std::string();
}

}  // namespace

absl::StatusOr<CheckpointParts> OpenHfDirectory(const std::string& directory,
                                                const Checkpoint::Options& options) {
  CheckpointParts parts;
  LCKV_ASSIGN_OR_RETURN(const std::string config_json, ReadText(directory + "/config.json"));
  LCKV_ASSIGN_OR_RETURN(const std::string generation_json,
                        ReadOptionalText(directory + "/generation_config.json"));
  absl::StatusOr<ModelConfig> config = ModelConfig::FromHfJson(config_json, generation_json);
  LCKV_RETURN_IF_ERROR(Annotate(config.status(), directory));
  parts.config = *std::move(config);
  if (!options.layer_map.empty()) {
    LCKV_RETURN_IF_ERROR(parts.config.OverrideLayerMap(options.layer_map));
  }

  SafetensorsSource source;
  LCKV_RETURN_IF_ERROR(source.Open(directory));
  LCKV_ASSIGN_OR_RETURN(parts.tensors, LoadTensors(parts.config, kHfNames, source));
  parts.files = source.files();

  LCKV_ASSIGN_OR_RETURN(parts.chat_template, ReadChatTemplate(directory));
  if (parts.chat_template.size() > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": chat_template: more than ", kMaxTemplateBytes, " bytes"));
  }
  const std::string tokenizer_path = directory + "/tokenizer.json";
  const absl::Status tokenizer = MappedFile::Open(tokenizer_path).status();
  if (!absl::IsNotFound(tokenizer)) {
    LCKV_RETURN_IF_ERROR(tokenizer);
    parts.tokenizer_path = tokenizer_path;
  }
  return parts;
}

}  // namespace lckv
