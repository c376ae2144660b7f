#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace lckv {

// Finds added tokens (special ones and others) in text, before it is pre-tokenised: leftmost first,
// at one place the longest. A trie of their bytes. Immutable once filled; then thread-safe.
class AddedTokenMatcher {
 public:
  // What a search costs per byte of text at most.
  static constexpr size_t kMaxContentBytes = 256;

  struct Match {
    size_t begin;
    size_t length_bytes;
    int32_t id;
  };

  // REQUIRES: 1 <= content.size() <= kMaxContentBytes, content not yet added, id >= 0.
  void Add(absl::string_view content, int32_t id);

  // The first match at or after byte `from`.
  std::optional<Match> Find(absl::string_view text, size_t from) const;

 private:
  static uint64_t EdgeKey(int32_t node, char byte);

  std::array<bool, 256> starts_{};                // bytes that some token begins with
  absl::flat_hash_map<uint64_t, int32_t> edges_;  // (node, byte) -> node
  std::vector<int32_t> token_at_node_{-1};        // node 0 is the root; -1: no token ends here
};

}  // namespace lckv
