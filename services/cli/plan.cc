// `lckv plan`: what a model costs on a device, from its config alone.

#include "engine/plan/plan.h"

#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/encode/segment.h"
#include "engine/model/config_file.h"
#include "engine/plan/paper_table.h"
#include "services/cli/command.h"
#include "services/cli/json_output.h"
#include "services/cli/model_flags.h"
#include "services/cli/plan_output.h"
#include "services/common/flags.h"
#include "services/worker/device_flags.h"

namespace lckv {
namespace {

constexpr int kMaxRows = 1 << 20;

struct PlanOptions {
  ModelFlags model;
  bool paper = false;
  std::string device = "h100";
  // 0: the device's own.
  int64_t device_memory = 0;
  double memory_bandwidth = 0;
  double host_link_bandwidth = 0;
  double bf16_flops = 0;
  double fp8_flops = 0;
  double f32_flops = 0;
  std::string weights = "bf16";
  std::string kv = "bf16";
  int64_t context = 0;  // 0: prompt + generate
  int64_t prompt = 512;
  int64_t generate = 1024;
  PlanRequest request;
  bool json = false;
};

struct Suffix {
  const char* text;
  double factor;
};
constexpr Suffix kBandwidths[] = {{"MB/s", 1e6},         {"GB/s", 1e9},         {"TB/s", 1e12},
                                  {"Mbit/s", 1e6 / 8.0}, {"Gbit/s", 1e9 / 8.0}, {"B/s", 1.0}};
constexpr Suffix kFlops[] = {{"G", 1e9}, {"T", 1e12}, {"P", 1e15}};

// A positive number with one of the suffixes.
template <size_t n>
void AddRateFlag(CLI::App& command, const std::string& name, const Suffix (&suffixes)[n],
                 const char* example, double* value, const std::string& help) {
  command
      .add_option_function<std::string>(
          name,
          [name, &suffixes, example, value](const std::string& text) {
            absl::string_view number = text;
            double factor = 0, parsed = 0;
            for (const Suffix& suffix : suffixes) {
              if (factor == 0 && absl::ConsumeSuffix(&number, suffix.text)) factor = suffix.factor;
            }
            if (factor == 0 || !absl::SimpleAtod(number, &parsed) || !std::isfinite(parsed) ||
                parsed <= 0 || parsed > 1e9) {
              throw CLI::ValidationError(name, absl::StrCat("want a rate such as ", example));
            }
            *value = parsed * factor;
          },
          help)
      ->type_name("RATE");
}

void AddDeviceFlags(CLI::App& command, PlanOptions& options) {
  std::vector<std::string> names;
  for (const DeviceSpec& device : KnownDevices()) names.push_back(device.name);
  command.add_option("--device", options.device, "Device whose figures hold where no flag does")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--device-memory",
          [&options](const std::string& text) {
            const absl::StatusOr<int64_t> bytes = ParseBytes(text);
            if (!bytes.ok() || *bytes == 0) {
              throw CLI::ValidationError("--device-memory", "want a size such as 80GiB");
            }
            options.device_memory = *bytes;
          },
          "Its memory")
      ->type_name("BYTES");
  AddRateFlag(command, "--memory-bandwidth", kBandwidths, "3.35TB/s", &options.memory_bandwidth,
              "Of its memory");
  AddRateFlag(command, "--host-link-bandwidth", kBandwidths, "63GB/s", &options.host_link_bandwidth,
              "Between host memory and device, one direction");
  AddRateFlag(command, "--bf16-flops", kFlops, "989T", &options.bf16_flops,
              "Dense bf16 products, FLOP/s");
  AddRateFlag(command, "--fp8-flops", kFlops, "1.98P", &options.fp8_flops,
              "Dense fp8 products, FLOP/s");
  AddRateFlag(command, "--f32-flops", kFlops, "67T", &options.f32_flops,
              "float32 without TF32, FLOP/s");
  AddBytesFlag(command, "--reserved-memory", &options.request.reserved_bytes,
               "Memory left for the CUDA context and workspaces");
  AddRateFlag(command, "--link-bandwidth", kBandwidths, "25Gbit/s",
              &options.request.link_bytes_per_second, "Link to the cache node; default 25Gbit/s");
}

void AddGpuLayersFlag(CLI::App& command, PlanRequest& request) {
  command
      .add_option_function<std::string>(
          "--gpu-layers",
          [&request](const std::string& text) {
            request.device_layers = PlanRequest::kAutoLayers;
            if (text == "auto") return;
            if (!absl::SimpleAtoi(text, &request.device_layers) || request.device_layers < 0) {
              throw CLI::ValidationError("--gpu-layers", "want a number of layers, or auto");
            }
          },
          "Layers whose weights lie on the device; those above stay in host memory and stream in "
          "every step")
      ->default_str("auto")
      ->type_name("N|auto");
}

void AddSessionFlags(CLI::App& command, PlanOptions& options) {
  constexpr int64_t kMaxTokens = ModelConfig::kMaxPositions;
  CLI::Option* context =
      command
          .add_option("--context", options.context,
                      "Tokens of a session, all of them input; instead of --prompt and --generate")
          ->check(CLI::Range(int64_t{1}, kMaxTokens));
  command.add_option("--prompt", options.prompt, "Input tokens of a session")
      ->check(CLI::Range(int64_t{1}, kMaxTokens))
      ->excludes(context)
      ->capture_default_str();
  command.add_option("--generate", options.generate, "Generated tokens of a session")
      ->check(CLI::Range(int64_t{0}, kMaxTokens))
      ->excludes(context)
      ->capture_default_str();
  command.add_option("--weights", options.weights, "Format of weights")
      ->check(CLI::IsMember({"bf16", "f32", "fp8", "int8", "int4"}))
      ->capture_default_str();
  command.add_option("--kv", options.kv, "Format of stored KV")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}))
      ->capture_default_str();
  command.add_option("--tokens-per-page", options.request.tokens_per_page)
      ->check(CLI::Range(16, 4096))
      ->check(
          [](const std::string& text) {
            int tokens = 0;
            const bool ok = absl::SimpleAtoi(text, &tokens) && tokens % 16 == 0;
            return ok ? std::string() : std::string("want a multiple of 16");
          },
          "MULTIPLE OF 16")
      ->capture_default_str();
  command.add_option("--passes", options.request.passes, "Passes of a segment (K); 0: the model's")
      ->check(CLI::Range(0, kMaxPasses))
      ->capture_default_str();
  command.add_option("--step-tokens", options.request.step_tokens, "Input tokens of a step")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
  command.add_option("--encode-slots", options.request.encode_slots, "Inputs encoded at once")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
  command
      .add_option("--max-running", options.request.running_turns,
                  "Turns at once while other sessions are only kept hot")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
}

// It brings models, devices and sessions of its own.
void AddPaperFlag(CLI::App& command, PlanOptions& options) {
  const auto choose = [&command, &options](int64_t /*count*/) {
    options.paper = true;
    for (const CLI::Option* option : command.get_options()) {
      if (option->count() > 0 && option->get_name() != "--json") {
        throw CLI::ValidationError("--paper", "does not go with " + option->get_name());
      }
    }
  };
  command.get_option_group("model")->add_flag_function(
      "--paper", choose, "The rows of the LCKV paper's Table 1 beside its own figures");
}

DeviceSpec DeviceOf(const PlanOptions& options, DeviceSpec device) {
  const auto override_with = [](double value, double& figure) {
    if (value > 0) figure = value;
  };
  if (options.device_memory > 0) device.memory_bytes = options.device_memory;
  override_with(options.memory_bandwidth, device.memory_bytes_per_second);
  override_with(options.host_link_bandwidth, device.host_link_bytes_per_second);
  override_with(options.bf16_flops, device.bf16_flops);
  override_with(options.fp8_flops, device.fp8_flops);
  override_with(options.f32_flops, device.f32_flops);
  return device;
}

absl::StatusOr<PlanRequest> RequestOf(const PlanOptions& options) {
  PlanRequest request = options.request;
  request.prompt_tokens = options.context > 0 ? options.context : options.prompt;
  request.generated_tokens = options.context > 0 ? 0 : options.generate;
  LCKV_ASSIGN_OR_RETURN(request.weights, ParseWeightFormat(options.weights));
  LCKV_ASSIGN_OR_RETURN(request.kv_dtype, ParseDType(options.kv));
  return request;
}

// What only the model or the device can tell; messages name the flag.
absl::Status CheckFlags(const PlanOptions& options, const PlanRequest& request,
                        const ModelConfig& config, const DeviceSpec& device) {
  if (request.prompt_tokens + request.generated_tokens > config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.context > 0 ? "--context: " : "--prompt + --generate: ",
                     request.prompt_tokens + request.generated_tokens,
                     " tokens, but the model has ", config.max_positions, " positions"));
  }
  if (request.device_layers > config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("--gpu-layers: ", request.device_layers,
                                                   ", but the model has ", config.num_layers,
                                                   " layers"));
  }
  if (request.weights == WeightFormat::kFp8 && device.fp8_flops == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--weights: ", device.name, " has no fp8 products; see --fp8-flops"));
  }
  return Annotate(CheckWeightFormat(config, request.weights), "--weights");
}

absl::Status RunModelPlan(const PlanOptions& options) {
  const ModelFlags& flags = options.model;
  LCKV_ASSIGN_OR_RETURN(
      ModelConfig config,
      ReadModelConfig(flags.random_weights.empty() ? flags.model : flags.random_weights));
  if (!flags.layer_map.empty()) {
    LCKV_RETURN_IF_ERROR(Annotate(config.OverrideLayerMap(flags.layer_map), "--layer-map"));
  }
  LCKV_ASSIGN_OR_RETURN(DeviceSpec device, FindDevice(options.device));
  device = DeviceOf(options, std::move(device));
  LCKV_ASSIGN_OR_RETURN(const PlanRequest request, RequestOf(options));
  LCKV_RETURN_IF_ERROR(CheckFlags(options, request, config, device));
  LCKV_ASSIGN_OR_RETURN(Plan plan, MakePlan(config, device, request));
  const bool full = config.layer_map.ToString() == LayerMap::Identity(config.num_layers).ToString();
  PlanReport report = {config, device, request, plan, absl::NotFoundError("it is the full map")};
  if (!full) report.full_map = MakePlan(WithFullMap(config), device, request);
  if (options.json) {
    std::cout << ToLine(ToJson(report)) << "\n";
  } else {
    std::cout << ToTable(report);
  }
  return absl::OkStatus();
}

absl::Status RunPaperPlan(bool json) {
  std::vector<PaperReport> reports;
  for (size_t row = 0; row < PaperTable().size(); ++row) {
    PaperReport report;
    report.row = row;
    for (const int warmup : kPaperWarmupLayers) {
      report.plans.push_back(PlanPaperRow(PaperTable()[row], warmup));
    }
    reports.push_back(std::move(report));
  }
  if (json) {
    std::cout << ToLine(ToJson(reports)) << "\n";
  } else {
    std::cout << ToTable(reports);
  }
  return absl::OkStatus();
}

absl::Status RunPlan(const PlanOptions& options) {
  return options.paper ? RunPaperPlan(options.json) : RunModelPlan(options);
}

}  // namespace

void AddPlan(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      Declare(tool, "plan", "Memory, batches and roofline speed of a model on a device, calculated",
              options, &RunPlan, chosen);
  AddDeviceFlags(*command, *options);
  AddSessionFlags(*command, *options);
  AddGpuLayersFlag(*command, options->request);
  AddLayer0TableFlag(*command, &options->request.layer0_table);
  AddModelFlags(*command, options->model);
  AddPaperFlag(*command, *options);
  command->add_flag("--json", options->json, "One JSON object");
}

}  // namespace lckv
