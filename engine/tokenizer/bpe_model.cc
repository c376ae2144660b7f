#include "engine/tokenizer/bpe_model.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Heap order: true when `a` is to be joined after `b`.
struct After {
  template <typename Candidate>
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.priority != b.priority ? a.priority > b.priority : a.left > b.left;
  }
};

}  // namespace

absl::StatusOr<BpeModel> BpeModel::Create(const std::array<int32_t, 256>& byte_tokens,
                                          absl::Span<const Merge> merges) {
  BpeModel model;
  model.byte_tokens_ = byte_tokens;
  model.merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const Joined joined{static_cast<int32_t>(i), merges[i].result};
    if (!model.merges_.emplace(PairKey(merges[i].left, merges[i].right), joined).second) {
      return absl::InvalidArgumentError(absl::StrCat("merges[", i, "]: the pair occurs twice"));
    }
  }
  return model;
}

void BpeModel::AddCandidate(int32_t left, Scratch* scratch) const {
  const Scratch::Symbol& symbol = scratch->symbols[left];
  if (symbol.next < 0) return;
  const Scratch::Symbol& right = scratch->symbols[symbol.next];
  const auto found = merges_.find(PairKey(symbol.id, right.id));
  if (found == merges_.end()) return;
  scratch->queue.push_back(
      {found->second.priority, left, found->second.result, symbol.span_bytes + right.span_bytes});
}

void BpeModel::Encode(absl::string_view pretoken, Scratch* scratch,
                      std::vector<int32_t>* ids) const {
  LCKV_CHECK(pretoken.size() < static_cast<size_t>(std::numeric_limits<int32_t>::max()));
  std::vector<Scratch::Symbol>& symbols = scratch->symbols;
  std::vector<Scratch::Candidate>& queue = scratch->queue;
  symbols.clear();
  queue.clear();
  for (const char c : pretoken) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    const int32_t position = static_cast<int32_t>(symbols.size());
    if (id >= 0) symbols.push_back({id, position - 1, position + 1, 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  for (size_t i = 0; i + 1 < symbols.size(); ++i) AddCandidate(static_cast<int32_t>(i), scratch);
  std::make_heap(queue.begin(), queue.end(), After());
  const auto add = [&](int32_t left) {
    const size_t size = queue.size();
    AddCandidate(left, scratch);
    if (queue.size() > size) std::push_heap(queue.begin(), queue.end(), After());
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), After());
    const Scratch::Candidate best = queue.back();
    queue.pop_back();
    Scratch::Symbol& left = symbols[best.left];
    if (left.span_bytes == 0 || left.next < 0) continue;
    Scratch::Symbol& right = symbols[left.next];
    // Symbols only grow, so an unchanged length means that neither has been joined with anything
    // since.
    if (left.span_bytes + right.span_bytes != best.span_bytes) continue;
    left.id = best.result;
    left.span_bytes = best.span_bytes;
    left.next = right.next;
    right.span_bytes = 0;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    if (left.previous >= 0) add(left.previous);
    add(best.left);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids->push_back(symbols[i].id);
}

}  // namespace lckv
