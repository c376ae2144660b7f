#include "services/cli/plan_output.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/units.h"
#include "engine/plan/paper_table.h"

namespace lckv {
namespace {

using Json = nlohmann::ordered_json;

// Three significant digits; whole numbers from 100 on, with separators.
std::string Rounded(double value) {
  if (value < 100) return absl::StrFormat("%.3g", value);
  const std::string digits = absl::StrFormat("%.0f", value);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string Count(int64_t value) { return Rounded(static_cast<double>(value)); }

std::string Seconds(double seconds) {
  if (seconds < 1e-3) return absl::StrCat(Rounded(seconds * 1e6), " us");
  if (seconds < 1) return absl::StrCat(Rounded(seconds * 1e3), " ms");
  return absl::StrCat(Rounded(seconds), " s");
}

// 3.35e12, "B/s" -> "3.35 TB/s".
std::string Scaled(double value, const char* unit) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  for (; value >= 1000 && prefix + 1 < std::size(kPrefixes); ++prefix) value /= 1000;
  return absl::StrCat(Rounded(value), " ", kPrefixes[prefix], unit);
}

std::string RateText(const Rate& rate) {
  return absl::StrCat(Rounded(rate.tokens_per_second), " (", Name(rate.bound), ")");
}

// A line of the table: what it says of a plan, and the number whose ratio is worth showing.
struct Line {
  const char* label;
  std::function<std::string(const Plan&)> text;
  std::function<double(const Plan&)> number;  // null: no ratio
};

std::vector<Line> MemoryLines() {
  return {
      {"KV bytes per token", [](const Plan& p) { return Count(p.kv_bytes_per_token); },
       [](const Plan& p) { return static_cast<double>(p.kv_bytes_per_token); }},
      {"KV of one session", [](const Plan& p) { return FormatBytes(p.session_bytes); },
       [](const Plan& p) { return static_cast<double>(p.session_bytes); }},
      {"weights on the device",
       [](const Plan& p) {
         return FormatBytes(p.memory.weight_bytes + p.memory.stream_buffer_bytes);
       },
       nullptr},
      {"weights in host memory",
       [](const Plan& p) { return FormatBytes(p.memory.host_weight_bytes); }, nullptr},
      {"layers on the device", [](const Plan& p) { return Count(p.device_layers); }, nullptr},
      {"activations", [](const Plan& p) { return FormatBytes(p.memory.activation_bytes); },
       nullptr},
      {"logits", [](const Plan& p) { return FormatBytes(p.memory.logits_bytes); }, nullptr},
      {"encode slots", [](const Plan& p) { return FormatBytes(p.memory.encode_slot_bytes); },
       nullptr},
      {"KV pages of the largest batch",
       [](const Plan& p) { return FormatBytes(p.memory.kv_bytes); }, nullptr},
      {"largest batch", [](const Plan& p) { return Count(p.largest_batch); },
       [](const Plan& p) { return static_cast<double>(p.largest_batch); }},
      {"hot sessions", [](const Plan& p) { return Count(p.hot_sessions); },
       [](const Plan& p) { return static_cast<double>(p.hot_sessions); }},
  };
}

std::vector<Line> SpeedLines(bool end_to_end) {
  std::vector<Line> lines = {
      {"decode, batch 1, tokens/s", [](const Plan& p) { return RateText(p.decode_one); },
       [](const Plan& p) { return p.decode_one.tokens_per_second; }},
      {"decode, largest batch, tokens/s", [](const Plan& p) { return RateText(p.decode_batch); },
       [](const Plan& p) { return p.decode_batch.tokens_per_second; }},
      {"  shared KV read once a step",
       [](const Plan& p) { return RateText(p.decode_batch_shared); },
       [](const Plan& p) { return p.decode_batch_shared.tokens_per_second; }},
      {"encode, one input, tokens/s", [](const Plan& p) { return RateText(p.encode); },
       [](const Plan& p) { return p.encode.tokens_per_second; }},
  };
  if (end_to_end) {
    lines.push_back({"whole batch, generated tokens/s",
                     [](const Plan& p) { return Rounded(p.total.tokens_per_second); },
                     [](const Plan& p) { return p.total.tokens_per_second; }});
    lines.push_back({"  shared KV read once a step",
                     [](const Plan& p) { return Rounded(p.total_shared.tokens_per_second); },
                     [](const Plan& p) { return p.total_shared.tokens_per_second; }});
  }
  return lines;
}

std::vector<Line> RestoreLines() {
  return {
      {"restore 1,000 tokens",
       [](const Plan& p) { return Seconds(p.restore.seconds_per_1k_tokens); },
       [](const Plan& p) { return p.restore.seconds_per_1k_tokens; }},
      {"encode 1,000 tokens",
       [](const Plan& p) { return Seconds(p.restore.encode_seconds_per_1k_tokens); },
       [](const Plan& p) { return p.restore.encode_seconds_per_1k_tokens; }},
      {"restoring is faster from",
       [](const Plan& p) -> std::string {
         if (!p.restore.crossover_tokens.has_value()) return "never";
         return absl::StrCat(Count(*p.restore.crossover_tokens),
                             *p.restore.crossover_tokens == 1 ? " token" : " tokens");
       },
       nullptr},
  };
}

void AppendLines(const PlanReport& report, const std::vector<Line>& lines, std::string& table) {
  for (const Line& line : lines) {
    absl::StrAppendFormat(&table, "%-33s%22s", line.label, line.text(report.plan));
    if (report.full_map.ok()) {
      absl::StrAppendFormat(&table, "%22s", line.text(*report.full_map));
      if (line.number) {
        absl::StrAppendFormat(&table, "%11s",
                              Rounded(line.number(report.plan) / line.number(*report.full_map)));
      }
    }
    absl::StrAppend(&table, "\n");
  }
}

Json RateJson(const Rate& rate) {
  return {{"seconds", rate.seconds},
          {"tokens_per_second", rate.tokens_per_second},
          {"bound", std::string(Name(rate.bound))}};
}

Json EndToEndJson(const EndToEnd& total) {
  return {{"seconds", total.seconds}, {"tokens_per_second", total.tokens_per_second}};
}

Json MemoryJson(const MemoryPlan& memory) {
  return {{"weight_bytes", memory.weight_bytes},
          {"stream_buffer_bytes", memory.stream_buffer_bytes},
          {"activation_bytes", memory.activation_bytes},
          {"logits_bytes", memory.logits_bytes},
          {"encode_slot_bytes", memory.encode_slot_bytes},
          {"kv_bytes", memory.kv_bytes},
          {"reserved_bytes", memory.reserved_bytes},
          {"device_bytes", memory.device_bytes()},
          {"host_weight_bytes", memory.host_weight_bytes}};
}

Json RestoreJson(const RestorePlan& restore) {
  Json json = {{"bytes_per_1k_tokens", restore.bytes_per_1k_tokens},
               {"seconds_per_1k_tokens", restore.seconds_per_1k_tokens},
               {"encode_seconds_per_1k_tokens", restore.encode_seconds_per_1k_tokens},
               {"crossover_tokens", nullptr}};
  if (restore.crossover_tokens.has_value()) json["crossover_tokens"] = *restore.crossover_tokens;
  return json;
}

Json PlanJson(const Plan& plan) {
  return {{"passes", plan.passes},
          {"device_layers", plan.device_layers},
          {"kv_bytes_per_token", plan.kv_bytes_per_token},
          {"page_bytes", plan.page_bytes},
          {"session_bytes", plan.session_bytes},
          {"weight_bytes", plan.weight_bytes},
          {"memory", MemoryJson(plan.memory)},
          {"largest_batch", plan.largest_batch},
          {"hot_sessions", plan.hot_sessions},
          {"decode_position", plan.decode_position},
          {"decode_batch_1", RateJson(plan.decode_one)},
          {"decode_largest_batch", RateJson(plan.decode_batch)},
          {"decode_largest_batch_shared_kv", RateJson(plan.decode_batch_shared)},
          {"encode", RateJson(plan.encode)},
          {"whole_batch", EndToEndJson(plan.total)},
          {"whole_batch_shared_kv", EndToEndJson(plan.total_shared)},
          {"restore", RestoreJson(plan.restore)}};
}

Json DeviceJson(const DeviceSpec& device) {
  return {{"name", device.name},
          {"memory_bytes", device.memory_bytes},
          {"memory_bytes_per_second", device.memory_bytes_per_second},
          {"host_link_bytes_per_second", device.host_link_bytes_per_second},
          {"bf16_flops", device.bf16_flops},
          {"fp8_flops", device.fp8_flops},
          {"f32_flops", device.f32_flops}};
}

std::string WarmupName(int warmup) {
  return warmup == 0 ? std::string("full") : absl::StrCat("w=", warmup);
}

// "352 / 128 2.8": this plan's figure, the paper's, and their ratio.
std::string Compare(double ours, double paper) {
  return absl::StrFormat("%8s /%7s%6.1f", Rounded(ours), Rounded(paper), ours / paper);
}

}  // namespace

Json ToJson(const PlanReport& report) {
  const PlanRequest& request = report.request;
  Json json = {{"name", report.config.name},
               {"layers", report.config.num_layers},
               {"layer_map", report.config.layer_map.ToString()},
               {"device", DeviceJson(report.device)},
               {"weights", std::string(Name(request.weights))},
               {"kv_dtype", std::string(Name(request.kv_dtype))},
               {"tokens_per_page", request.tokens_per_page},
               {"prompt_tokens", request.prompt_tokens},
               {"generated_tokens", request.generated_tokens},
               {"step_tokens", request.step_tokens},
               {"encode_slots", request.encode_slots},
               {"running_turns", request.running_turns},
               {"link_bytes_per_second", request.link_bytes_per_second},
               {"plan", PlanJson(report.plan)},
               {"full_map", nullptr}};
  if (report.full_map.ok()) json["full_map"] = PlanJson(*report.full_map);
  return json;
}

std::string ToTable(const PlanReport& report) {
  const DeviceSpec& device = report.device;
  const PlanRequest& request = report.request;
  std::string table;
  absl::StrAppendFormat(&table, "model    %s%s%d layers, %d of them with KV, %d pass%s\n",
                        report.config.name, report.config.name.empty() ? "" : ", ",
                        report.config.num_layers, report.config.layer_map.producers().size(),
                        report.plan.passes, report.plan.passes == 1 ? "" : "es");
  absl::StrAppendFormat(&table, "device   %s: %s, %s, %s, host link %s\n", device.name,
                        FormatBytes(device.memory_bytes),
                        Scaled(device.memory_bytes_per_second, "B/s"),
                        Scaled(LinearPeak(device, request.weights), "FLOP/s"),
                        Scaled(device.host_link_bytes_per_second, "B/s"));
  absl::StrAppendFormat(&table, "session  %s + %s tokens; weights %s, KV %s; restored at %s\n\n",
                        Count(request.prompt_tokens), Count(request.generated_tokens),
                        Name(request.weights), Name(request.kv_dtype),
                        Scaled(request.link_bytes_per_second, "B/s"));
  absl::StrAppendFormat(&table, "%-33s%22s", "", "this map");
  if (report.full_map.ok()) absl::StrAppendFormat(&table, "%22s%11s", "full map", "this/full");
  absl::StrAppend(&table, "\n");
  AppendLines(report, MemoryLines(), table);
  absl::StrAppend(&table, "\n");
  AppendLines(report, SpeedLines(request.generated_tokens > 0), table);
  absl::StrAppend(&table, "\n");
  AppendLines(report, RestoreLines(), table);
  if (absl::IsResourceExhausted(report.full_map.status())) {
    absl::StrAppend(&table, "\nThe full map does not fit: ", report.full_map.status().message(),
                    "\n");
  }
  return table;
}

Json ToJson(const std::vector<PaperReport>& reports) {
  Json rows = Json::array();
  for (const PaperReport& report : reports) {
    const PaperRow& row = PaperTable()[report.row];
    Json maps = Json::object();
    for (size_t i = 0; i < report.plans.size(); ++i) {
      Json map = {{"paper",
                   {{"largest_batch", row.largest_batch[i]},
                    {"tokens_per_second", row.tokens_per_second[i]}}},
                  {"plan", nullptr}};
      if (report.plans[i].ok()) {
        map["plan"] = PlanJson(*report.plans[i]);
        map["batch_ratio"] = static_cast<double>(report.plans[i]->largest_batch) /
                             static_cast<double>(row.largest_batch[i]);
      }
      maps[WarmupName(kPaperWarmupLayers[i])] = std::move(map);
    }
    rows.push_back({{"device", row.device},
                    {"model", row.model},
                    {"prompt_tokens", row.prompt_tokens},
                    {"generated_tokens", row.generated_tokens},
                    {"offloaded", row.offloaded},
                    {"maps", std::move(maps)}});
  }
  return {{"source", "arXiv 2405.10637v2, Table 1"}, {"rows", std::move(rows)}};
}

std::string ToTable(const std::vector<PaperReport>& reports) {
  const auto table_of = [&](const char* title, auto&& ours, auto&& paper) {
    std::string table = absl::StrFormat("%-26s", title);
    for (const int warmup : kPaperWarmupLayers) {
      absl::StrAppendFormat(&table, "%24s", WarmupName(warmup));
    }
    absl::StrAppend(&table, "\n");
    for (const PaperReport& report : reports) {
      const PaperRow& row = PaperTable()[report.row];
      absl::StrAppendFormat(&table, "%-8s%5s %5d+%-6d", row.device, row.model, row.prompt_tokens,
                            row.generated_tokens);
      for (size_t i = 0; i < report.plans.size(); ++i) {
        const std::string cell = report.plans[i].ok()
                                     ? Compare(ours(*report.plans[i]), paper(row, i))
                                     : std::string("does not fit");
        absl::StrAppendFormat(&table, "%24s", cell);
      }
      absl::StrAppend(&table, row.offloaded ? "  weights streamed\n" : "\n");
    }
    return table;
  };
  return absl::StrCat(
      "Table 1 of arXiv 2405.10637v2: plan / paper, and their ratio\n\n",
      table_of(
          "largest batch", [](const Plan& plan) { return static_cast<double>(plan.largest_batch); },
          [](const PaperRow& row, size_t i) { return static_cast<double>(row.largest_batch[i]); }),
      "\n",
      table_of(
          "generated tokens/s", [](const Plan& plan) { return plan.total.tokens_per_second; },
          [](const PaperRow& row, size_t i) { return row.tokens_per_second[i]; }),
      "\n",
      table_of(
          "  shared KV read once",
          [](const Plan& plan) { return plan.total_shared.tokens_per_second; },
          [](const PaperRow& row, size_t i) { return row.tokens_per_second[i]; }),
      "\nA plan's tokens/s are the roofline: no program reaches them. The paper's are measured.\n");
}

}  // namespace lckv
