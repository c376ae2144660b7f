#include "tests/bench/bench_run.h"

#include <utility>

namespace lckv::bench {
namespace {

Json Entry(const Group& group, const std::string& what, const std::string& reason) {
  return {
      {"model", group.model}, {"map", MapName(group.warmup)}, {"what", what}, {"reason", reason}};
}

// The fastest that each part of the work could be, by one roofline.
void AddShares(const Work& work, const DeviceSpec& device, WeightFormat format, double seconds,
               const std::string& of, Json& json) {
  const Roofline roofline = RooflineOf(work, device, format);
  const double bytes = work.device_bytes / seconds / device.memory_bytes_per_second;
  const double flops =
      (work.linear_flops + work.attention_flops) / seconds / LinearPeak(device, format);
  json["share_of_" + of + "_roofline"] = roofline.seconds / seconds;
  json[of + "_bound"] = std::string(Name(roofline.bound));
  json["share_of_" + of + "_bandwidth"] = bytes;
  json["share_of_" + of + "_peak"] = flops;
}

}  // namespace

void BenchRun::Skip(const Group& group, const std::string& what, const std::string& reason) {
  skipped.push_back(Entry(group, what, reason));
}

void BenchRun::Fail(const Group& group, const std::string& what, const absl::Status& status) {
  failed.push_back(Entry(group, what, status.ToString()));
}

Json BenchRun::Compare(const Work& work, double seconds) const {
  Json json;
  json["bytes_per_second"] = work.device_bytes / seconds;
  json["flops_per_second"] = (work.linear_flops + work.attention_flops) / seconds;
  AddShares(work, measured, format, seconds, "measured", json);
  // What was measured is a bf16 product; int8 and int4 weights are multiplied as bf16, too.
  const bool other_peak = format == WeightFormat::kF32 || format == WeightFormat::kFp8;
  if (rates.bf16_flops == 0 || other_peak) json["share_of_measured_peak"] = Json();
  if (sheet.has_value()) {
    AddShares(work, *sheet, format, seconds, "sheet", json);
  } else {
    for (const char* name : {"share_of_sheet_roofline", "sheet_bound", "share_of_sheet_bandwidth",
                             "share_of_sheet_peak"}) {
      json[name] = Json();
    }
  }
  return json;
}

}  // namespace lckv::bench
