#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/log.h"
#include "engine/runtime/kv_memory.h"
#include "engine/tensor/dtype.h"
#include "services/common/config.h"
#include "services/common/flags.h"
#include "services/common/server_runner.h"
#include "services/common/tls_setup.h"
#include "services/common/tracing/tracing_options.h"
#include "services/worker/device_flags.h"
#include "services/worker/worker.h"

namespace lckv::worker {
namespace {

void AddModelFlags(CLI::App& app, WorkerOptions* options) {
  app.add_option("--model", options->model, "model directory (config.json, safetensors) or GGUF");
  app.add_option("--random-weights", options->random_weights,
                 "config.json of a model whose weights are random, for speed work");
  app.add_option("--random-seed,--seed", options->random_seed, "of --random-weights")
      ->capture_default_str();
  app.add_option("--layer-map", options->layer_map, "layer map instead of the config's: 0_6_6_…");
  app.add_option("--weights", options->engine.weight_format,
                 "bf16, f16, f32, fp8 (a GPU), int8 or int4; auto: as stored");
  AddChoiceFlag<DType>(app, "--kv-dtype", &options->engine.kv_dtype,
                       {{"bf16", DType::kBf16}, {"f32", DType::kF32}, {"f16", DType::kF16}},
                       "bf16, f32 or f16");
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
  AddLayer0TableFlag(app, &options->engine.layer0_table);
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
  AddChoiceFlag<NumericsPolicy>(
      app, "--numerics", &options->numerics,
      {{"same", NumericsPolicy::kSame}, {"any", NumericsPolicy::kAny}},
      "sessions computed in another numerics class: same refuses, any goes on");
  AddChoiceFlag<FingerprintPolicy>(
      app, "--other-model", &options->fingerprint,
      {{"recompute", FingerprintPolicy::kRecompute}, {"refuse", FingerprintPolicy::kRefuse}},
      "sessions of another model or KV format: recompute evaluates their transcript again, refuse "
      "leaves them to their own workers");
}

void AddFlags(CLI::App& app, WorkerOptions* options) {
  app.add_option("--listen", options->listen, "host:port of the service; port 0 takes a free one")
      ->check(CheckAddress)
      ->capture_default_str();
  app.add_option("--metrics-listen", options->metrics_listen,
                 "address:port of /metrics; empty for none")
      ->check(CheckAddressOrEmpty)
      ->capture_default_str();
  app.add_option("--worker-id,--id", options->id, "the worker's name; default: host and port");
  app.add_option("--advertise", options->advertise, "host:port under which others reach it")
      ->check(CheckAddressOrEmpty);
  app.add_option("--cache-node", options->cache_node, "host:port of the cache node")
      ->required()
      ->check(CheckAddress);
  AddTlsFlags(app, &options->tls);
  AddModelFlags(app, options);
  AddServingFlags(app, options);
  app.add_flag("--vllm-metrics", options->vllm_metrics, "also the metric names of autoscalers");
  app.add_flag("--reflection", options->reflection, "serve gRPC reflection");
  AddLogLevelFlag(app, &options->log_level);
}

std::vector<ConfigProblem> CheckTogether(const WorkerOptions& options) {
  std::vector<ConfigProblem> problems = TlsProblems(options.tls);
  if (options.model.empty() == options.random_weights.empty()) {
    problems.push_back({"model", "want --model or --random-weights, and not both"});
  }
  return problems;
}

}  // namespace

int RunWorker(int argc, char** argv) {
  BlockStopSignals();
  WorkerOptions options;
  options.engine.kv_memory = KvMemory::kAuto;
  CLI::App app("Runs a model for lckv and keeps its sessions.", "worker");
  AddFlags(app, &options);
  SetLogService("worker");
  const auto check = [&options] {
    std::vector<ConfigProblem> problems = CheckTogether(options);
    ReadTracing("lckv-worker", &options.tracing, &problems);
    return problems;
  };
  if (const auto exit_status = ReadConfig(app, argc, argv, check)) return *exit_status;
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
