#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// A run of neighbouring layers that is evaluated as one stage of encoding (design section 4).
struct LayerRun {
  int begin = 0;        // first layer
  int end = 0;          // one past the last
  bool cyclic = false;  // must be iterated to encode several tokens at once
};

// The layer map f: layer i's queries attend to the K/V that layer f(i) produces. Written as in the
// published LCKV code: "0_20_20_…_20_21", one item a layer, suffix "s" = this layer's attention has
// a sliding window. Immutable after Parse / Identity.
class LayerMap {
 public:
  // INVALID_ARGUMENT: a malformed item, a number of items other than `num_layers`, f(i) outside [0,
  // num_layers).
  static absl::StatusOr<LayerMap> Parse(absl::string_view text, int num_layers);
  // f(i) = i for every layer.
  static LayerMap Identity(int num_layers);

  int num_layers() const { return static_cast<int>(source_.size()); }
  int source(int layer) const { return source_[static_cast<size_t>(layer)]; }  // f(layer)
  bool windowed(int layer) const { return windowed_[static_cast<size_t>(layer)]; }
  bool attends_up(int layer) const { return source(layer) > layer; }
  // A value of f: a layer with k_proj/v_proj weights and KV of its own.
  bool is_producer(int layer) const { return producer_[static_cast<size_t>(layer)]; }
  std::vector<int> producers() const;  // ascending
  // Some layer attends up, so several tokens at once need iteration.
  bool cyclic() const;
  // A producer that some lower layer reads: the passes of its group hand its KV on from pass to
  // pass.
  bool is_upward_target(int layer) const { return upward_target_[static_cast<size_t>(layer)]; }

  // The stages of encoding, in order, covering all layers: cyclic groups (from the first layer that
  // attends up, grown until closed under max f) and the runs between them.
  const std::vector<LayerRun>& runs() const { return runs_; }

  std::string ToString() const;  // the notation that Parse reads

 private:
  void Derive();

  std::vector<int> source_;
  std::vector<bool> windowed_;
  std::vector<bool> producer_;
  std::vector<bool> upward_target_;
  std::vector<LayerRun> runs_;
};

}  // namespace lckv
