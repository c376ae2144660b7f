#include "engine/tokenizer/bpe_model.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using Merge = BpeModel::Merge;

// Tokens 0.. for the letters a.. of an alphabet of `size` letters; no other byte has a token.
std::array<int32_t, 256> Letters(int size) {
  std::array<int32_t, 256> tokens;
  tokens.fill(-1);
  for (int i = 0; i < size; ++i) tokens['a' + i] = i;
  return tokens;
}

std::vector<int32_t> Encode(const BpeModel& model, const std::string& text) {
  BpeModel::Scratch scratch;
  std::vector<int32_t> ids;
  model.Encode(text, &scratch, &ids);
  return ids;
}

// The definition, word by word: look for the best pair, leftmost first, join it, start again.
std::vector<int32_t> ObviousEncode(const std::vector<Merge>& merges, std::vector<int32_t> ids) {
  std::map<std::pair<int32_t, int32_t>, size_t> priority;
  for (size_t i = 0; i < merges.size(); ++i) priority[{merges[i].left, merges[i].right}] = i;
  while (true) {
    size_t best = merges.size();
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = priority.find({ids[i], ids[i + 1]});
      if (found != priority.end() && found->second < best) {
        best = found->second;
        best_at = i;
      }
    }
    if (best == merges.size()) return ids;
    ids[best_at] = merges[best].result;
    ids.erase(ids.begin() + best_at + 1);
  }
}

TEST(BpeModel, JoinsByPriorityThenFromTheLeft) {
  // a=0 b=1 c=2; bc=3 before ab=4; aa=5; aaaa=6.
  ASSERT_OK_AND_ASSIGN(const BpeModel model,
                       BpeModel::Create(Letters(3), {{1, 2, 3}, {0, 1, 4}, {0, 0, 5}, {5, 5, 6}}));
  EXPECT_EQ(Encode(model, ""), (std::vector<int32_t>{}));
  EXPECT_EQ(Encode(model, "abc"), (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(Encode(model, "ab"), (std::vector<int32_t>{4}));
  EXPECT_EQ(Encode(model, "aaa"), (std::vector<int32_t>{5, 0}));
  EXPECT_EQ(Encode(model, "aaaaa"), (std::vector<int32_t>{6, 0}));
}

TEST(BpeModel, BytesWithoutTokenVanishBeforeTheirNeighboursAreJoined) {
  ASSERT_OK_AND_ASSIGN(const BpeModel model, BpeModel::Create(Letters(1), {{0, 0, 1}}));
  EXPECT_EQ(Encode(model, "a?a"), (std::vector<int32_t>{1}));
  EXPECT_EQ(Encode(model, "?"), (std::vector<int32_t>{}));
}

TEST(BpeModel, APairMayNotOccurTwice) {
  EXPECT_THAT(BpeModel::Create(Letters(2), {{0, 1, 2}, {1, 0, 3}, {0, 1, 4}}),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("merges[2]")));
}

TEST(BpeModel, EqualsTheObviousLoopOnRandomVocabularies) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    // As in a trained vocabulary, a merge joins two tokens that exist and makes a new one.
    const int letters = 2 + round % 3;
    std::vector<Merge> merges;
    std::map<std::pair<int32_t, int32_t>, bool> used;
    for (int32_t next = letters; next < letters + 40; ++next) {
      const int32_t left = static_cast<int32_t>(random() % next);
      const int32_t right = static_cast<int32_t>(random() % next);
      if (used.emplace(std::make_pair(left, right), true).second) {
        merges.push_back({left, right, next});
      }
    }
    ASSERT_OK_AND_ASSIGN(const BpeModel model, BpeModel::Create(Letters(letters), merges));
    for (int length = 0; length < 40; ++length) {
      std::string text;
      std::vector<int32_t> bytes;
      for (int i = 0; i < length; ++i) {
        bytes.push_back(static_cast<int32_t>(random() % letters));
        text.push_back(static_cast<char>('a' + bytes.back()));
      }
      EXPECT_EQ(Encode(model, text), ObviousEncode(merges, bytes)) << text;
    }
  }
}

TEST(BpeModel, ALongPretokenIsNotQuadratic) {
  // a -> aa -> aaaa … : every level joins the whole text once. A quadratic loop would not come
  // back.
  std::vector<Merge> merges;
  for (int32_t i = 0; i < 20; ++i) merges.push_back({i, i, i + 1});
  ASSERT_OK_AND_ASSIGN(const BpeModel model, BpeModel::Create(Letters(1), merges));
  EXPECT_EQ(Encode(model, std::string(size_t{1} << 20, 'a')), (std::vector<int32_t>{20}));
}

}  // namespace
}  // namespace lckv
