#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "base/log.h"
#include "engine/runtime/kv_memory.h"
#include "engine/tensor/dtype.h"
#include "services/common/flags.h"
#include "services/common/server_runner.h"
#include "services/worker/device_flags.h"
#include "services/worker/worker.h"

namespace lckv::worker {
namespace {

template <typename T>
using Names = std::map<std::string, T>;

Names<DType> KvFormats() {
  return {{"bf16", DType::kBf16}, {"f32", DType::kF32}, {"f16", DType::kF16}};
}
Names<NumericsPolicy> NumericsPolicies() {
  return {{"same", NumericsPolicy::kSame}, {"any", NumericsPolicy::kAny}};
}
Names<FingerprintPolicy> FingerprintPolicies() {
  return {{"recompute", FingerprintPolicy::kRecompute}, {"refuse", FingerprintPolicy::kRefuse}};
}

void AddModelFlags(CLI::App& app, WorkerOptions* options) {
  app.add_option("--model", options->model, "model directory (config.json, safetensors) or GGUF");
  app.add_option("--random-weights", options->random_weights,
                 "config.json of a model whose weights are random, for speed work");
  app.add_option("--seed,--random-seed", options->random_seed, "of --random-weights")
      ->capture_default_str();
  app.add_option("--layer-map", options->layer_map, "layer map instead of the config's: 0_6_6_…");
  app.add_option("--weights", options->engine.weight_format,
                 "bf16, f16, f32, fp8 (a GPU), int8 or int4; auto: as stored");
  app.add_option("--kv-dtype", options->engine.kv_dtype, "bf16, f32 or f16")
      ->transform(CLI::CheckedTransformer(KvFormats(), CLI::ignore_case))
      ->default_str("bf16");
  app.add_option_function<std::string>(
         "--kv-memory",
         [options](const std::string& text) {
           const absl::Status status = SetKvMemory(text, &options->engine);
           if (!status.ok()) {
             throw CLI::ValidationError("--kv-memory",
                                        "want auto, a share such as 85% or a size "
                                        "such as 256MiB or 4GB");
           }
         },
         "KV pool, larger keeps more sessions hot: a size, a share of the GPU memory that the "
         "model leaves free, or auto (90% of it; on the processor 256 MiB)")
      ->default_str(DescribeKvMemory(options->engine));
  AddBytesFlag(app, "--page-bandwidth", &options->engine.page_bytes_per_second,
               "a second, in each direction, for pages between host and GPU; 0: no limit");
  app.add_option("--max-context", options->engine.max_context,
                 "tokens of one session; 0: the model's")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  AddDeviceFlags(app, options->device);
  AddGpuLayersFlag(app, &options->engine.device_layers);
}

void AddServingFlags(CLI::App& app, WorkerOptions* options) {
  app.add_option("--max-running", options->engine.max_running_turns, "turns evaluated together")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--max-waiting", options->max_waiting_turns, "turns that wait; more are refused")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--step-tokens", options->engine.step_tokens,
                 "input tokens of one step: larger, faster prompts; smaller, smoother decoding")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--checkpoint-tokens", options->checkpoint_tokens,
                 "generated tokens between two pushes of a running turn")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--push-threads", options->push_threads, "threads that push pages")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option_function<double>(
         "--idle-evict-seconds",
         [options](const double& seconds) { options->idle_evict = absl::Seconds(seconds); },
         "idle sessions leave the pool after this long")
      ->check(CLI::Range(0.1, 1e9))
      ->default_str(absl::StrCat(absl::ToDoubleSeconds(options->idle_evict)));
  AddDurationFlag(app, "--lease-ttl", &options->lease_ttl,
                  "how long a worker that died blocks its sessions (1s to 60s)");
  AddDurationFlag(app, "--restore-timeout", &options->restore_timeout,
                  "then a session is computed again instead");
  AddDurationFlag(app, "--commit-timeout", &options->commit_timeout,
                  "how long a turn's end waits for the cache node");
  AddDurationFlag(app, "--drain-grace", &options->drain_grace,
                  "time for running turns at shutdown before they move");
  app.add_option("--numerics", options->numerics,
                 "sessions computed in another numerics class: same refuses, any goes on")
      ->transform(CLI::CheckedTransformer(NumericsPolicies(), CLI::ignore_case))
      ->default_str("same");
  app.add_option("--other-model", options->fingerprint,
                 "sessions of another model or KV format: recompute evaluates their transcript "
                 "again, refuse leaves them to their own workers")
      ->transform(CLI::CheckedTransformer(FingerprintPolicies(), CLI::ignore_case))
      ->default_str("recompute");
}

void AddFlags(CLI::App& app, WorkerOptions* options) {
  app.add_option("--listen", options->listen, "host:port of the service; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--metrics-listen", options->metrics_listen,
                 "address:port of /metrics; empty for none")
      ->capture_default_str();
  app.add_option("--id,--worker-id", options->id, "the worker's name; default: host and port");
  app.add_option("--advertise", options->advertise, "host:port under which others reach it");
  app.add_option("--cache-node", options->cache_node, "host:port of the cache node");
  AddModelFlags(app, options);
  AddServingFlags(app, options);
  app.add_flag("--vllm-metrics", options->vllm_metrics, "also the metric names of autoscalers");
  app.add_flag("--reflection", options->reflection, "serve gRPC reflection");
  AddLogLevelFlag(app, &options->log_level);
}

}  // namespace

int RunWorker(int argc, char** argv) {
  BlockStopSignals();
  WorkerOptions options;
  options.engine.kv_memory = KvMemory::kAuto;
  CLI::App app("Runs a model for lckv and keeps its sessions.", "worker");
  AddFlags(app, &options);
  CLI11_PARSE(app, argc, argv);
  SetLogService("worker");
  SetLogLevel(options.log_level);
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Start(options);
  if (!worker.ok()) {
    LogError("cannot start", {{"status", worker.status().ToString()}});
    return 1;
  }
  LogInfo("serving", {{"worker", (*worker)->id()}});
  (*worker)->SetReady();
  ServeUntilStopped("worker", (*worker)->server(), (*worker)->metrics_server(), (*worker)->grace(),
                    [&](absl::Time deadline) { (*worker)->Drain(deadline); });
  return 0;
}

}  // namespace lckv::worker
