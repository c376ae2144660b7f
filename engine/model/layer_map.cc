#include "engine/model/layer_map.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

struct Item {
  int source = 0;
  bool windowed = false;
};

absl::StatusOr<Item> ParseItem(absl::string_view text, int layer, int num_layers) {
  const auto malformed = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("layer map: item ", layer, " is \"", text.substr(0, 20),
                     "\", not a layer number with an optional \"s\""));
  };
  Item item;
  absl::string_view digits = text;
  if (!digits.empty() && digits.back() == 's') {
    item.windowed = true;
    digits.remove_suffix(1);
  }
  // Seven digits hold every layer number and cannot overflow.
  if (digits.empty() || digits.size() > 7) return malformed();
  for (const char c : digits) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return malformed();
    item.source = item.source * 10 + (c - '0');
  }
  if (item.source >= num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("layer map: layer ", layer, " uses layer ",
                                                   item.source, ", but there are only ", num_layers,
                                                   " layers"));
  }
  return item;
}

}  // namespace

absl::StatusOr<LayerMap> LayerMap::Parse(absl::string_view text, int num_layers) {
  LCKV_CHECK(num_layers >= 0);
  LayerMap map;
  for (absl::string_view piece : absl::StrSplit(text, '_')) {
    if (map.num_layers() == num_layers) {
      return absl::InvalidArgumentError(
          absl::StrCat("layer map: more than ", num_layers, " items, the number of layers"));
    }
    LCKV_ASSIGN_OR_RETURN(const Item item, ParseItem(piece, map.num_layers(), num_layers));
    map.source_.push_back(item.source);
    map.windowed_.push_back(item.windowed);
  }
  if (map.num_layers() < num_layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer map: ", map.num_layers(), " items for ", num_layers, " layers"));
  }
  map.Derive();
  return map;
}

LayerMap LayerMap::Identity(int num_layers) {
  LCKV_CHECK(num_layers >= 0);
  LayerMap map;
  for (int layer = 0; layer < num_layers; ++layer) map.source_.push_back(layer);
  map.windowed_.assign(map.source_.size(), false);
  map.Derive();
  return map;
}

std::vector<int> LayerMap::producers() const {
  std::vector<int> layers;
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (is_producer(layer)) layers.push_back(layer);
  }
  return layers;
}

bool LayerMap::cyclic() const {
  return std::any_of(runs_.begin(), runs_.end(), [](const LayerRun& run) { return run.cyclic; });
}

std::string LayerMap::ToString() const {
  std::string text;
  for (int layer = 0; layer < num_layers(); ++layer) {
    absl::StrAppend(&text, layer == 0 ? "" : "_", source(layer), windowed(layer) ? "s" : "");
  }
  return text;
}

void LayerMap::Derive() {
  producer_.assign(source_.size(), false);
  upward_target_.assign(source_.size(), false);
  for (int layer = 0; layer < num_layers(); ++layer) {
    const auto target = static_cast<size_t>(source(layer));
    producer_[target] = true;
    if (attends_up(layer)) upward_target_[target] = true;
  }
  for (int begin = 0; begin < num_layers();) {
    LayerRun run{begin, begin + 1, attends_up(begin)};
    if (run.cyclic) {
      // Closed: no layer of the group reads from above its end. The end grows while the scan goes
      // on.
      for (int layer = begin; layer < run.end; ++layer) {
        run.end = std::max(run.end, source(layer) + 1);
      }
    } else {
      while (run.end < num_layers() && !attends_up(run.end)) ++run.end;
    }
    runs_.push_back(run);
    begin = run.end;
  }
}

}  // namespace lckv
