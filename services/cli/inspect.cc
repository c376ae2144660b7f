// `lckv inspect`: what a model's layer map costs and saves, and what a session image holds.

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "cache/image/image_file.h"
#include "engine/kv/page_layout.h"
#include "services/cli/command.h"
#include "services/cli/gateway_client.h"
#include "services/cli/json_output.h"
#include "services/cli/model_flags.h"

namespace lckv {
namespace {

using Json = nlohmann::ordered_json;

struct InspectOptions {
  ModelFlags model;
  std::string image;
  std::string kv = "bf16";
  int tokens_per_page = 64;
  bool json = false;
};

// The page layout of a map's producers.
absl::StatusOr<PageLayout> LayoutOf(const ModelConfig& config, const LayerMap& map, DType dtype,
                                    int tokens_per_page) {
  std::vector<PageLayout::Producer> producers;
  for (int layer : map.producers()) {
    producers.push_back({layer, config.num_kv_heads, config.head_dim});
  }
  return PageLayout::Create(producers, dtype, tokens_per_page);
}

absl::StatusOr<Json> DescribeModel(const InspectOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        OpenCheckpoint(options.model));
  LCKV_ASSIGN_OR_RETURN(const DType dtype, ParseDType(options.kv));
  const ModelConfig& config = checkpoint->config();
  LCKV_ASSIGN_OR_RETURN(const PageLayout layout,
                        LayoutOf(config, config.layer_map, dtype, options.tokens_per_page));
  LCKV_ASSIGN_OR_RETURN(
      const PageLayout full,
      LayoutOf(config, LayerMap::Identity(config.num_layers), dtype, options.tokens_per_page));
  LCKV_ASSIGN_OR_RETURN(const Sha256Digest fingerprint,
                        Fingerprint(*checkpoint, dtype, options.tokens_per_page));
  return Json{
      {"name", config.name},
      {"architecture", config.architecture},
      {"layers", config.num_layers},
      {"hidden_size", config.hidden_size},
      {"heads", config.num_heads},
      {"kv_heads", config.num_kv_heads},
      {"head_dim", config.head_dim},
      {"vocab_size", config.vocab_size},
      {"max_positions", config.max_positions},
      {"layer_map", config.layer_map.ToString()},
      {"force_nodiag", config.force_nodiag},
      {"cyclic", config.layer_map.cyclic()},
      {"producers", config.layer_map.producers()},
      {"passes", config.default_passes()},
      {"kv_dtype", options.kv},
      {"kv_bytes_per_token", layout.bytes_per_token()},
      {"kv_bytes_per_token_full_map", full.bytes_per_token()},
      {"tokens_per_page", options.tokens_per_page},
      {"page_bytes", layout.page_bytes()},
      {"fingerprint", ToHex(fingerprint)},
  };
}

// The manifest, and per page whether its bytes are what it says.
absl::StatusOr<Json> DescribeImage(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<ImageFile> image, ImageFile::Open(path));
  const v1::Manifest& manifest = image->manifest();
  std::vector<std::string> damaged;
  std::vector<char> page(manifest.page_bytes());
  for (int i = 0; i < manifest.pages_size(); ++i) {
    if (!image->ReadPage(i, absl::MakeSpan(page)).ok()) damaged.push_back(absl::StrCat(i));
  }
  return Json{
      {"session_id", manifest.session_id()},
      {"tenant", manifest.tenant()},
      {"format_version", manifest.format_version()},
      {"fingerprint", absl::BytesToHexString(manifest.fingerprint())},
      {"numerics_class", manifest.numerics_class()},
      {"version", manifest.version()},
      {"epoch", manifest.epoch()},
      {"tokens", manifest.tokens_size()},
      {"committed_tokens", manifest.committed_tokens()},
      {"segments", manifest.segments_size()},
      {"encode", Name(manifest.encode())},
      {"passes", manifest.passes()},
      {"kv_tokens", manifest.kv_tokens()},
      {"tokens_per_page", manifest.tokens_per_page()},
      {"page_bytes", manifest.page_bytes()},
      {"pages", manifest.pages_size()},
      {"damaged_pages", absl::StrJoin(damaged, ",")},
      {"created_unix_ms", manifest.created_unix_ms()},
      {"updated_unix_ms", manifest.updated_unix_ms()},
  };
}

void Print(const Json& description, bool json) {
  if (json) {
    std::cout << ToLine(description) << "\n";
    return;
  }
  for (const auto& [key, value] : description.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : ToLine(value);
    std::cout << absl::StreamFormat("%-28s %s\n", key, text);
  }
}

absl::Status RunInspect(const InspectOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const Json description, options.image.empty()
                                                    ? DescribeModel(options)
                                                    : DescribeImage(options.image));
  Print(description, options.json);
  return absl::OkStatus();
}

}  // namespace

void AddInspect(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      Declare(tool, "inspect", "Describes a model's layer map and KV, or a session image", options,
              &RunInspect, chosen);
  AddModelFlags(*command, options->model);
  command->get_option_group("model")->add_option("--image", options->image, "Session image file");
  command->add_option("--kv", options->kv, "KV number format")->capture_default_str();
  command->add_option("--tokens-per-page", options->tokens_per_page)->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object");
}

}  // namespace lckv
