#include "services/cli/evaluate_flags.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "services/worker/device_flags.h"

namespace lckv {

void AddComputeFlags(CLI::App& command, ComputeFlags& flags) {
  AddDeviceFlags(command, flags.device);
  AddGpuLayersFlag(command, &flags.device_layers);
  AddLayer0TableFlag(command, &flags.layer0_table);
  command
      .add_option("--weights", flags.weights,
                  "auto (as stored), f32, f16, bf16, fp8 (a GPU), int8 or int4")
      ->capture_default_str();
  command.add_option("--kv", flags.kv, "Format of stored KV: f32, bf16 or f16")
      ->capture_default_str();
}

void AddEncodeFlags(CLI::App& command, EncodeFlags& flags) {
  command
      .add_option("--encode", flags.encode,
                  "exact: every token a segment; paper: one segment, or those of --segments")
      ->check(CLI::IsMember({"exact", "paper"}))
      ->capture_default_str();
  command.add_option("--passes", flags.passes, "Passes of a segment (K); 0: the model's m + b")
      ->check(CLI::Range(0, kMaxPasses))
      ->capture_default_str();
  command.add_option("--segments", flags.segments,
                     "Segment lengths, N,N,1*M,…; 1*M: M segments of one token");
  command.add_option("--chunk", flags.chunk, "Tokens evaluated at once; changes no bit")
      ->check(CLI::Range(1, kMaxSegmentTokens))
      ->capture_default_str();
}

absl::StatusOr<std::vector<SegmentRun>> SegmentsOf(const EncodeFlags& flags, int32_t tokens) {
  std::vector<SegmentRun> segments;
  if (flags.segments.empty()) {
    EncodePolicy policy;
    policy.sequential = flags.encode == "exact";
    AppendInput(policy, tokens, segments);
    return segments;
  }
  if (flags.encode == "exact") {
    return absl::InvalidArgumentError("--segments: only with --encode paper");
  }
  for (absl::string_view piece : absl::StrSplit(flags.segments, ',')) {
    SegmentRun run;
    run.each_token = absl::StartsWith(piece, "1*");
    const absl::string_view number = run.each_token ? piece.substr(2) : piece;
    if (!absl::SimpleAtoi(number, &run.tokens) || run.tokens < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--segments: \"", piece, "\" is neither a length nor 1*COUNT"));
    }
    segments.push_back(run);
  }
  if (TotalTokens(segments) != tokens) {
    return absl::InvalidArgumentError(absl::StrCat("--segments: they cover ", TotalTokens(segments),
                                                   " tokens, but there are ", tokens));
  }
  return segments;
}

absl::StatusOr<LoadedEvaluator> LoadEvaluator(const ModelFlags& model, const ComputeFlags& compute,
                                              const EncodeFlags& encode, int max_tokens) {
  LoadedEvaluator loaded;
  Evaluator::Options options;
  LCKV_ASSIGN_OR_RETURN(options.kv_dtype, ParseDType(compute.kv));
  options.chunk = encode.chunk;
  LCKV_ASSIGN_OR_RETURN(loaded.checkpoint, OpenCheckpoint(model));
  const ModelConfig& config = loaded.checkpoint->config();
  options.max_tokens =
      max_tokens > 0 ? std::min(max_tokens, config.max_positions) : config.max_positions;
  LCKV_ASSIGN_OR_RETURN(loaded.backend, OpenDevice(compute.device));
  const bool all = compute.device_layers == EngineOptions::kAutoLayers;
  LCKV_ASSIGN_OR_RETURN(
      loaded.model,
      Model::Load(*loaded.checkpoint, loaded.backend.get(), compute.weights, options.max_tokens,
                  all ? Model::kAllLayers : compute.device_layers, compute.layer0_table));
  LCKV_ASSIGN_OR_RETURN(loaded.evaluator, Evaluator::Create(loaded.model.get(), options));
  loaded.passes = encode.passes > 0 ? encode.passes : config.default_passes();
  return loaded;
}

}  // namespace lckv
