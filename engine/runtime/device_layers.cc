#include "engine/runtime/device_layers.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/units.h"

namespace lckv {
namespace {

constexpr int kWindows = 2;  // of a WeightStream: one layer computes while the next arrives

int64_t SumFrom(const std::vector<int64_t>& layers, int first) {
  int64_t sum = 0;
  for (size_t i = static_cast<size_t>(first); i < layers.size(); ++i) sum += layers[i];
  return sum;
}

// What is left for pages when layers [0, layers) are resident.
int64_t LeftBeside(const DeviceLayersRequest& request, int layers) {
  const auto& all = request.layer_bytes;
  const int64_t streamed = static_cast<int64_t>(all.size()) - layers;
  int64_t windows = 0;
  if (streamed > 0) {
    windows =
        std::min<int64_t>(streamed, kWindows) * *std::max_element(all.begin() + layers, all.end());
  }
  return request.free_bytes - request.other_bytes - (SumFrom(all, 0) - SumFrom(all, layers)) -
         windows;
}

// Sessions that run together; 0: the weights do not fit.
int64_t Sessions(const DeviceLayersRequest& request, int layers) {
  const int64_t left = LeftBeside(request, layers);
  if (request.kv_bytes.has_value()) return left >= *request.kv_bytes ? 1 : 0;
  const double pool = request.kv_share * static_cast<double>(std::max<int64_t>(left, 0));
  return std::min(request.running_sessions,
                  static_cast<int64_t>(pool) / std::max<int64_t>(request.session_bytes, 1));
}

}  // namespace

absl::StatusOr<int> ChooseDeviceLayers(const DeviceLayersRequest& request) {
  const int all = static_cast<int>(request.layer_bytes.size());
  if (Sessions(request, all) > 0) return all;
  int best = -1;
  double best_rate = 0;
  for (int layers = all - 1; layers >= 0; --layers) {
    const double rate = static_cast<double>(Sessions(request, layers)) /
                        static_cast<double>(SumFrom(request.layer_bytes, layers));
    if (rate > best_rate) {
      best = layers;
      best_rate = rate;
    }
  }
  if (best >= 0) return best;
  const int64_t least = request.free_bytes - LeftBeside(request, 0);
  return absl::ResourceExhaustedError(absl::StrCat(
      "the device has ", FormatBytes(request.free_bytes), " free; weights and buffers need ",
      FormatBytes(least + LeftBeside(request, 0) - LeftBeside(request, all)), ", or ",
      FormatBytes(least), " with all layers in host memory, and the KV ",
      request.kv_bytes.has_value()
          ? FormatBytes(*request.kv_bytes)
          : absl::StrCat(FormatBytes(request.session_bytes), " a context")));
}

}  // namespace lckv
