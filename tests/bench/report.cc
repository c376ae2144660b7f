// What a run has found, as JSON and as Markdown.

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/units.h"
#include "tests/bench/bench_run.h"

namespace lckv::bench {
namespace {

std::string Percent(const Json& share) {
  return share.is_number() ? absl::StrFormat("%.1f %%", 100 * share.get<double>()) : "-";
}

std::string Rate(const Json& value) {
  if (!value.is_number()) return "-";
  const double rate = value.get<double>();
  return absl::StrFormat(rate < 100 ? "%.2f" : "%.0f", rate);
}

std::string Gigabytes(const Json& value) {
  return absl::StrFormat("%.2f GB/s", value.get<double>() * 1e-9);
}

std::string Milliseconds(const Json& value) {
  return absl::StrFormat("%.2f ms", value.get<double>() * 1e3);
}

std::string Text(const Json& value) { return value.get<std::string>(); }

std::string ModelOf(const Json& entry) {
  return absl::StrCat(Text(entry["model"]), " ", Text(entry["map"]));
}

// The cases of one kind, a line each; nothing where there are none.
template <typename Line>
std::string Table(const Json& report, const std::string& name, const std::string& header,
                  const Line& line) {
  std::string lines;
  for (const Json& entry : report["cases"]) {
    if (entry["case"] == name) absl::StrAppend(&lines, "| ", line(entry), " |\n");
  }
  if (lines.empty()) return "";
  std::string rule = "|";
  for (const char c : header) {
    if (c == '|') rule += " --- |";
  }
  return absl::StrCat("| ", header, " |\n", rule, " --- |\n", lines, "\n");
}

std::string Decode(const Json& entry) {
  return absl::StrCat(ModelOf(entry), " | ", entry["position"].get<int64_t>(), " | ",
                      Rate(entry["tokens_per_second"]), " | ",
                      FormatBytes(static_cast<int64_t>(entry["bytes_per_token"].get<double>())),
                      " | ", Gigabytes(entry["bytes_per_second"]), " | ",
                      Percent(entry["share_of_sheet_bandwidth"]), " | ",
                      Percent(entry["share_of_measured_bandwidth"]));
}

std::string Encode(const Json& entry) {
  return absl::StrCat(
      ModelOf(entry), " | ", entry["prompts"].get<int>(), " x ", entry["prompt"].get<int>(), " | ",
      entry["passes"].get<int>(), " | ", Rate(entry["tokens_per_second"]), " | ",
      absl::StrFormat("%.1f", entry["flops_per_second"].get<double>() * 1e-12), " | ",
      Percent(entry["share_of_sheet_peak"]), " | ", Percent(entry["share_of_measured_peak"]));
}

std::string Pages(const Json& entry) {
  return absl::StrCat(
      ModelOf(entry), " | ", FormatBytes(entry["page_bytes"].get<int64_t>()), " | ",
      FormatBytes(entry["bytes"].get<int64_t>()), " | ", Gigabytes(entry["out_bytes_per_second"]),
      " | ", Percent(entry["out_share_of_pinned"]), " | ", Gigabytes(entry["in_bytes_per_second"]),
      " | ", Percent(entry["in_share_of_pinned"]));
}

std::string Batch(const Json& entry) {
  const Json& middle = entry["decode_points"][entry["decode_points"].size() / 2];
  const Json& paper = entry["paper"];
  const Json& sequential = entry["sequential_encoding"];
  const std::string published =
      paper.is_null() ? "-"
                      : absl::StrCat(Text(paper["device"]), ": ", paper["batch"].get<int64_t>(),
                                     ", ", Rate(paper["tokens_per_second"]));
  return absl::StrCat(
      ModelOf(entry), " | ", entry["prompt"].get<int>(), "+", entry["generated"].get<int>(), " | ",
      entry["batch"].get<int>(), " | ", Rate(entry["tokens_per_second"]), " | ",
      sequential.is_null() ? "-" : Rate(sequential["tokens_per_second"]), " | ",
      absl::StrFormat("%.1f", entry["encode_seconds"].get<double>()), " | ",
      absl::StrFormat("%.1f", entry["decode_seconds"].get<double>()), " | ",
      Milliseconds(middle["step_seconds"]), " | ", Percent(middle["share_of_sheet_roofline"]),
      " | ", Percent(middle["share_of_measured_roofline"]), " | ",
      Percent(middle["share_of_sheet_roofline_kv_read_once"]), " | ", published);
}

std::string RatioLines(const Json& report) {
  std::string lines;
  for (const Json& ratio : report["ratios"]) {
    absl::StrAppend(&lines, "| ", ModelOf(ratio), " | ", ratio["prompt"].get<int>(), "+",
                    ratio["generated"].get<int>(), " | ", Rate(ratio["over_full"]), " | ",
                    Rate(ratio["over_full_sequential_encoding"]), " | ", Rate(ratio["paper"]),
                    " |\n");
  }
  if (lines.empty()) return "";
  return absl::StrCat(
      "| model | prompt+generated | times the full map's tokens/s | encoding token by token | "
      "paper |\n| --- | --- | --- | --- | --- |\n",
      lines, "\n");
}

std::string Notes(const Json& entries, const char* title) {
  std::string text;
  for (const Json& entry : entries) {
    absl::StrAppend(&text, "* ", title, ": ", ModelOf(entry), ", ", Text(entry["what"]), ": ",
                    Text(entry["reason"]), "\n");
  }
  return text;
}

std::string Machine(const Json& report) {
  const Json& machine = report["machine"];
  const auto gigabytes = [&](const char* name) {
    return machine[name].is_null() ? "-" : Gigabytes(machine[name]);
  };
  std::string text = absl::StrCat(
      "Device: ", Text(machine["device"]), ", ", Text(machine["driver"]), ". Commit ",
      Text(report["commit"]), ". Weights ", Text(report["weights"]), ", KV ", Text(report["kv"]),
      ".\nMeasured beside it: copy within the device ", gigabytes("copy_bytes_per_second"),
      ", pinned to device ", gigabytes("to_device_bytes_per_second"), ", device to pinned ",
      gigabytes("to_host_bytes_per_second"), ", bf16 product ");
  const Json& flops = machine["bf16_flops"];
  absl::StrAppend(
      &text, flops.is_null() ? "-" : absl::StrFormat("%.0f TFLOP/s", flops.get<double>() * 1e-12));
  const std::string note = Text(machine["note"]);
  return absl::StrCat(text, note.empty() ? "" : absl::StrCat(" (", note, ")"),
                      ".\nShares are of the data sheet, then of what was measured.\n\n");
}

Json OrNull(double value) { return value > 0 ? Json(value) : Json(); }

double PaperRate(const Json& entry) {
  return entry["paper"].is_null() ? 0 : entry["paper"]["tokens_per_second"].get<double>();
}

}  // namespace

Json Ratios(const Json& cases) {
  std::map<std::string, const Json*> full;
  const auto key = [](const Json& entry) {
    return absl::StrCat(Text(entry["model"]), " ", entry["prompt"].get<int>(), "+",
                        entry["generated"].get<int>());
  };
  for (const Json& entry : cases) {
    if (entry["case"] == "batch" && entry["map"] == "full") full[key(entry)] = &entry;
  }
  Json ratios = Json::array();
  for (const Json& entry : cases) {
    if (entry["case"] != "batch" || entry["map"] == "full") continue;
    const auto base = full.find(key(entry));
    if (base == full.end()) continue;
    const double rate = (*base->second)["tokens_per_second"].get<double>();
    const Json& sequential = entry["sequential_encoding"];
    const double paper = PaperRate(*base->second);
    ratios.push_back(
        {{"model", entry["model"]},
         {"map", entry["map"]},
         {"prompt", entry["prompt"]},
         {"generated", entry["generated"]},
         {"over_full", entry["tokens_per_second"].get<double>() / rate},
         {"over_full_sequential_encoding",
          sequential.is_null() ? Json()
                               : Json(sequential["tokens_per_second"].get<double>() / rate)},
         {"paper", paper > 0 ? Json(PaperRate(entry) / paper) : Json()}});
  }
  return ratios;
}

Json ReportOf(const BenchRun& run) {
  const MachineRates& rates = run.rates;
  Json report;
  report["benchmark"] = "engine_bench";
  report["commit"] = run.options.commit;
  report["device_option"] = run.options.device.device;
  report["weights"] = run.options.weights;
  report["kv"] = run.options.kv;
  report["step_tokens"] = run.options.step_tokens;
  report["max_batch"] = run.options.max_batch;
  report["budget_seconds"] = run.options.budget_seconds;
  report["seconds"] = run.budget.Spent();
  report["machine"] = {{"device", rates.device.empty() ? "host" : rates.device},
                       {"driver", rates.driver.empty() ? "no driver" : rates.driver},
                       {"memory_bytes", rates.memory_bytes},
                       {"free_bytes", rates.free_bytes},
                       {"copy_bytes_per_second", OrNull(rates.copy_bytes_per_second)},
                       {"to_device_bytes_per_second", OrNull(rates.to_device_bytes_per_second)},
                       {"to_host_bytes_per_second", OrNull(rates.to_host_bytes_per_second)},
                       {"bf16_flops", OrNull(rates.bf16_flops)},
                       {"note", rates.note}};
  report["sheet"] = Json();
  if (run.sheet.has_value()) {
    report["sheet"] = {{"name", run.sheet->name},
                       {"memory_bytes_per_second", run.sheet->memory_bytes_per_second},
                       {"bf16_flops", run.sheet->bf16_flops}};
  }
  report["cases"] = run.cases;
  report["ratios"] = Ratios(run.cases);
  report["skipped"] = run.skipped;
  report["failed"] = run.failed;
  return report;
}

std::string TablesOf(const Json& report) {
  std::string text = Machine(report);
  absl::StrAppend(
      &text,
      Table(report, "decode",
            "decode, batch 1 | position | tokens/s | read per token | read | of sheet bandwidth | "
            "of measured copy",
            Decode),
      Table(report, "encode",
            "encode | prompts | passes | tokens/s | TFLOP/s | of sheet peak | of measured product",
            Encode),
      Table(report, "pages", "pages | page | session | out | of pinned copy | in | of pinned copy",
            Pages));
  absl::StrAppend(
      &text,
      Table(report, "batch",
            "largest batch | prompt+generated | batch | tokens/s | encoding token by token | "
            "encoding, s | decoding, s | middle step | of roofline | of measured | KV read once | "
            "paper",
            Batch),
      RatioLines(report));
  for (const Json& entry : report["cases"]) {
    if (entry["case"] == "batch") {
      absl::StrAppend(&text, "* ", ModelOf(entry), " ", entry["prompt"].get<int>(), "+",
                      entry["generated"].get<int>(), ": ", Text(entry["shortened"]), "\n");
    }
  }
  absl::StrAppend(&text, Notes(report["skipped"], "skipped"), Notes(report["failed"], "failed"));
  return text;
}

}  // namespace lckv::bench
