#include "services/worker/device_flags.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "engine/runtime/engine.h"
#include "services/common/flags.h"

namespace lckv {
namespace {

// The names of OpenDevice, without a look at the machine.
std::string CheckDevice(const std::string& text) {
  if (text == "auto" || text == "cpu" || text == "cuda" || text == "cuda-sim") return "";
  absl::string_view ordinal = text;
  int number = 0;
  const bool is_gpu =
      absl::ConsumePrefix(&ordinal, "cuda:") && absl::SimpleAtoi(ordinal, &number) && number >= 0;
  return is_gpu ? "" : "want auto, cpu, cuda:N or cuda-sim";
}

}  // namespace

void AddDeviceFlags(CLI::App& app, DeviceOptions& options) {
  app.add_option("--device", options.device,
                 "auto, cpu or cuda:N (cuda-sim: the GPU kernels, simulated)")
      ->check(CheckDevice)
      ->capture_default_str();
  app.add_option(
         "--compute", options.compute,
         "what matrix products read: f32, bf16 (on a GPU), or auto: bf16 on a GPU, else f32")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}))
      ->capture_default_str();
  app.add_flag("--fast", options.fast,
               "on a GPU: an algorithm for every batch size; the bits then depend on the batch");
  app.add_option("--threads", options.cpu.num_threads, "threads that compute; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--isa", options.cpu.isa, "generic, avx2 or avx512; default: the best there is");
}

void AddGpuLayersFlag(CLI::App& app, int* device_layers) {
  app.add_option_function<std::string>(
         "--gpu-layers",
         [device_layers](const std::string& text) {
           if (text == "auto") {
             *device_layers = EngineOptions::kAutoLayers;
           } else if (!absl::SimpleAtoi(text, device_layers) || *device_layers < 0) {
             throw CLI::ValidationError("--gpu-layers", "want a number of layers, or auto");
           }
         },
         "layers whose weights lie in GPU memory, the others stream from host memory in every "
         "step: a number, or auto: all if they fit")
      ->default_str("auto");
}

void AddLayer0TableFlag(CLI::App& app, Layer0Table* table) {
  AddChoiceFlag<Layer0Table>(
      app, "--layer0-table", table,
      {{"auto", Layer0Table::kAuto}, {"on", Layer0Table::kOn}, {"off", Layer0Table::kOff}},
      "layer 0's K/V from a table of all token ids instead of projections: on, off, or auto: on a "
      "GPU, if it takes at most 2% of the weights");
}

}  // namespace lckv
