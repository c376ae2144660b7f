// Speed of whole engines beside rooflines and the rows of the LCKV paper's Table 1: random weights,
// full map against condensed ones. Prints Markdown tables and writes one JSON object.
//
//   engine_bench [--device auto|cpu|cuda:N|cuda-sim] [--shapes paper|tiny] [--budget SECONDS]
//                [--weights bf16] [--kv bf16] [--memory SIZE] [--step-tokens N] [--max-batch N]
//                [--filter MODEL/MAP] [--sheet h100] [--threads N] [--commit ID] [--out FILE]
//
// Every case that the budget or the memory leaves no room for is listed with the reason. Exit
// status 1: something failed; what was measured is written all the same.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "tests/bench/bench_run.h"

namespace lckv::bench {
namespace {

absl::Status SetFlag(absl::string_view flag, const std::string& value, BenchOptions& options) {
  const std::map<absl::string_view, std::string*> texts = {{"--device", &options.device.device},
                                                           {"--weights", &options.weights},
                                                           {"--kv", &options.kv},
                                                           {"--filter", &options.filter},
                                                           {"--sheet", &options.sheet},
                                                           {"--commit", &options.commit},
                                                           {"--out", &options.out}};
  const std::map<absl::string_view, int32_t*> numbers = {
      {"--step-tokens", &options.step_tokens},
      {"--max-batch", &options.max_batch},
      {"--threads", &options.device.cpu.num_threads}};
  const auto bad = [&] {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": \"", value, "\" will not do"));
  };
  if (const auto text = texts.find(flag); text != texts.end()) {
    *text->second = value;
  } else if (const auto number = numbers.find(flag); number != numbers.end()) {
    if (!absl::SimpleAtoi(value, number->second) || *number->second < 0) return bad();
  } else if (flag == "--budget") {
    if (!absl::SimpleAtod(value, &options.budget_seconds)) return bad();
  } else if (flag == "--memory") {
    LCKV_ASSIGN_OR_RETURN(options.memory_bytes, ParseBytes(value));
  } else if (flag == "--shapes") {
    if (value != "paper" && value != "tiny") return bad();
    options.tiny = value == "tiny";
  } else {
    return absl::InvalidArgumentError(absl::StrCat("no flag ", flag));
  }
  return absl::OkStatus();
}

absl::StatusOr<BenchOptions> Parse(int argc, char** argv) {
  BenchOptions options;
  if (argc % 2 == 0) return absl::InvalidArgumentError("every flag has a value");
  for (int i = 1; i + 1 < argc; i += 2) {
    LCKV_RETURN_IF_ERROR(SetFlag(argv[i], argv[i + 1], options));
  }
  if (options.step_tokens < 1 || options.max_batch < 1) {
    return absl::InvalidArgumentError("--step-tokens and --max-batch must be positive");
  }
  if (!options.tiny) return options;
  options.max_batch = std::min(options.max_batch, 6);
  options.step_tokens = std::min(options.step_tokens, 64);
  options.reserved_bytes = 0;
  if (options.memory_bytes == 0) options.memory_bytes = int64_t{64} << 20;
  return options;
}

// The machine that --device means; "auto" is settled here.
MachineRates MeasureMachine(BenchOptions& options) {
  std::string& device = options.device.device;
  absl::string_view number = device;
  int ordinal = 0;
  if (absl::ConsumePrefix(&number, "cuda:") && !absl::SimpleAtoi(number, &ordinal)) ordinal = 0;
  std::string gpu_note;
  if (device != "cuda-sim" && (device == "auto" || absl::StartsWith(device, "cuda"))) {
    const MachineRates gpu = MeasureGpu(ordinal);
    if (device == "auto") device = gpu.device.empty() ? "cpu" : "cuda:0";
    if (!gpu.device.empty()) return gpu;
    gpu_note = gpu.note;
  }
  MachineRates host = MeasureHost();
  if (!gpu_note.empty()) host.note = gpu_note;
  if (options.memory_bytes == 0) host.free_bytes /= 2;
  return host;
}

// Peaks that were measured; else those of the sheet, else none that anything could reach.
DeviceSpec MeasuredSpec(const MachineRates& rates, const std::optional<DeviceSpec>& sheet) {
  constexpr double kNoLimit = 1e18;
  DeviceSpec spec;
  const auto pick = [](double measured, double of_sheet) {
    if (measured > 0) return measured;
    return of_sheet > 0 ? of_sheet : kNoLimit;
  };
  const DeviceSpec known = sheet.value_or(DeviceSpec{});
  spec.name = "measured";
  spec.memory_bytes_per_second = pick(rates.copy_bytes_per_second, known.memory_bytes_per_second);
  spec.host_link_bytes_per_second =
      pick(rates.to_device_bytes_per_second, known.host_link_bytes_per_second);
  spec.bf16_flops = pick(rates.bf16_flops, known.bf16_flops);
  spec.fp8_flops = pick(0, known.fp8_flops);
  spec.f32_flops = pick(0, known.f32_flops);
  return spec;
}

// Through a file beside it: a reader never finds half of one.
absl::Status Write(const std::string& path, const Json& report) {
  const std::string part = path + ".part";
  std::ofstream(part) << report.dump(2) << "\n";
  if (std::rename(part.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

absl::StatusOr<bool> Main(int argc, char** argv) {
  BenchRun run;
  LCKV_ASSIGN_OR_RETURN(run.options, Parse(argc, argv));
  LCKV_ASSIGN_OR_RETURN(run.format, ParseWeightFormat(run.options.weights));
  LCKV_RETURN_IF_ERROR(ParseDType(run.options.kv).status());
  run.budget = Budget(run.options.budget_seconds);
  run.rates = MeasureMachine(run.options);
  run.sheet = SheetOf(run.rates.device);
  if (!run.options.sheet.empty()) {
    LCKV_ASSIGN_OR_RETURN(run.sheet, FindDevice(run.options.sheet));
  }
  run.measured = MeasuredSpec(run.rates, run.sheet);
  const std::vector<Group> groups = AllGroups(run.options.tiny);
  const auto wanted = [&](const Group& group) {
    return absl::StrContains(absl::StrCat(group.model, "/", MapName(group.warmup)),
                             run.options.filter);
  };
  double weights_left = 0;
  for (const Group& group : groups) weights_left += wanted(group) ? group.weight : 0;
  for (const Group& group : groups) {
    if (!wanted(group)) continue;
    std::fprintf(stderr, "[%5.1f s] %s %s\n", run.budget.Spent(), group.model.c_str(),
                 MapName(group.warmup).c_str());
    run.budget.BeginGroup(group.weight, weights_left);
    weights_left -= group.weight;
    RunGroup(run, group);
    if (!run.options.out.empty()) LCKV_RETURN_IF_ERROR(Write(run.options.out, ReportOf(run)));
  }
  std::printf("%s", TablesOf(ReportOf(run)).c_str());
  return run.failed.empty();
}

}  // namespace
}  // namespace lckv::bench

int main(int argc, char** argv) {
  const absl::StatusOr<bool> passed = lckv::bench::Main(argc, argv);
  if (passed.ok()) return *passed ? 0 : 1;
  std::fprintf(stderr, "engine_bench: %s\n", passed.status().ToString().c_str());
  return 2;
}
