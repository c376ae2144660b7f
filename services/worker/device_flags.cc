#include "services/worker/device_flags.h"

namespace lckv {

void AddDeviceFlags(CLI::App& app, DeviceOptions& options) {
  app.add_option("--device", options.device,
                 "auto, cpu or cuda:N (cuda-sim: the GPU kernels, simulated)")
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

}  // namespace lckv
