#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/encode/segment.h"
#include "tests/testing/golden.h"

namespace lckv::testing {

// One folder of tests/golden/lckv: a tiny checkpoint and what it must compute.
struct GoldenCase {
  std::string name;
  std::string path;
  std::vector<int32_t> tokens;
  int32_t passes = 1;  // m + b; 1 for acyclic maps
  bool cyclic = false;
  std::vector<SegmentRun> segments;  // of segments.f32; cyclic maps only
  std::vector<int> producers;
  std::vector<bool> nodiag;
  std::string layer_map;
};

inline const std::vector<std::string>& GoldenNames() {
  static const auto* names = new std::vector<std::string>{"cla2",
                                                          "lckv-sharded-extra-kv",
                                                          "lckv-w0-top",
                                                          "lckv-w2-diag",
                                                          "lckv-w2-long",
                                                          "lckv-w2-nodiag",
                                                          "lckv-w4-mha",
                                                          "lckv-window",
                                                          "llama-gqa-tied",
                                                          "llama-mha",
                                                          "llama-nodiag",
                                                          "llama-rope-linear",
                                                          "llama-rope-llama3-bias",
                                                          "mix-attention",
                                                          "odd-map",
                                                          "opt-llama-w2",
                                                          "opt-llama-warmup",
                                                          "sandwich-middle",
                                                          "two-groups",
                                                          "yoco"};
  return *names;
}

inline GoldenCase LoadGoldenCase(const std::string& name) {
  GoldenCase golden;
  golden.name = name;
  golden.path = GoldenPath("lckv/" + name);
  std::ifstream file(golden.path + "/case.json");
  const nlohmann::json json = nlohmann::json::parse(file);
  golden.tokens = json["tokens"].get<std::vector<int32_t>>();
  golden.producers = json["producers"].get<std::vector<int>>();
  golden.nodiag = json["nodiag"].get<std::vector<bool>>();
  golden.layer_map = json["layer_map"].get<std::string>();
  if (!json["paper_passes"].is_null()) {
    golden.cyclic = true;
    golden.passes = json["paper_passes"].get<int32_t>();
    for (const auto& segment : json["segments"]) {
      golden.segments.push_back({segment["tokens"].get<int32_t>(), segment["kind"] == "generated"});
    }
  }
  return golden;
}

// Little-endian float32 values of a file.
inline std::vector<float> ReadFloats(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)),
                                std::istreambuf_iterator<char>());
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace lckv::testing
