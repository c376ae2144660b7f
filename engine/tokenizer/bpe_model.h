#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lckv {

// Byte pair encoding of one pre-token: start with one token per byte, then join the adjacent pair
// with the highest priority, leftmost first, until no pair can be joined. Knows ids only.
// Immutable; thread-safe.
class BpeModel {
 public:
  // Tokens `left` and `right` side by side become `result`.
  struct Merge {
    int32_t left;
    int32_t right;
    int32_t result;
  };

  // Working memory of Encode, kept by the caller so that a text's pre-tokens share it. About 40
  // bytes per byte of the longest pre-token.
  class Scratch {
   private:
    friend class BpeModel;
    // A token in the making. The symbols of a pre-token are a doubly linked list inside a vector.
    struct Symbol {
      int32_t id;
      int32_t previous;    // -1: none
      int32_t next;        // -1: none
      int32_t span_bytes;  // 0: joined into the symbol on its left
    };
    // A pair that could be joined when it was queued.
    struct Candidate {
      int32_t priority;
      int32_t left;        // the position of the left symbol
      int32_t result;      // the token id of the two together
      int32_t span_bytes;  // of the two together
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;  // a heap, best candidate first
  };

  // `byte_tokens[b]`: the token of byte b, or -1. `merges`: highest priority first.
  // INVALID_ARGUMENT when a pair occurs twice.
  static absl::StatusOr<BpeModel> Create(const std::array<int32_t, 256>& byte_tokens,
                                         absl::Span<const Merge> merges);

  // Appends the tokens of `pretoken` (raw bytes, fewer than 2^31) to `ids`. Bytes without a token
  // are dropped first, so that their neighbours can still be joined. O(n log n).
  void Encode(absl::string_view pretoken, Scratch* scratch, std::vector<int32_t>* ids) const;

 private:
  struct Joined {
    int32_t priority;  // the smaller, the earlier
    int32_t result;
  };

  BpeModel() = default;
  // Queues the pair of symbol `left` and its right neighbour if the vocabulary joins it.
  void AddCandidate(int32_t left, Scratch* scratch) const;

  std::array<int32_t, 256> byte_tokens_{};
  absl::flat_hash_map<uint64_t, Joined> merges_;  // by the pair of ids
};

}  // namespace lckv
