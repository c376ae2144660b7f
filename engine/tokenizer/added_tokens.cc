#include "engine/tokenizer/added_tokens.h"

#include "base/check.h"

namespace lckv {

uint64_t AddedTokenMatcher::EdgeKey(int32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

void AddedTokenMatcher::Add(absl::string_view content, int32_t id) {
  LCKV_CHECK(!content.empty() && content.size() <= kMaxContentBytes && id >= 0);
  starts_[static_cast<uint8_t>(content[0])] = true;
  int32_t node = 0;
  for (const char byte : content) {
    const int32_t fresh = static_cast<int32_t>(token_at_node_.size());
    const auto [edge, inserted] = edges_.emplace(EdgeKey(node, byte), fresh);
    if (inserted) token_at_node_.push_back(-1);
    node = edge->second;
  }
  LCKV_CHECK(token_at_node_[node] < 0);
  token_at_node_[node] = id;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::Find(absl::string_view text,
                                                                size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
    std::optional<Match> longest;
    int32_t node = 0;
    for (size_t end = begin; end < text.size(); ++end) {
      const auto edge = edges_.find(EdgeKey(node, text[end]));
      if (edge == edges_.end()) break;
      node = edge->second;
      if (token_at_node_[node] >= 0) longest = Match{begin, end + 1 - begin, token_at_node_[node]};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace lckv
