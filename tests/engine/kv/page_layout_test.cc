#include "engine/kv/page_layout.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::StatusIs;

// Of every byte of a page: the token it belongs to, kPadding for none. Walks the layout in the
// order in which design section 6 writes it: [producer][kv_head]{ K: [T][head_dim], V: ... }.
constexpr int kPadding = INT32_MAX;
std::vector<int> TokenOfByte(const std::vector<PageLayout::Producer>& producers, DType dtype,
                             int tokens_per_page) {
  std::vector<int> owner;
  for (const PageLayout::Producer& producer : producers) {
    for (int head = 0; head < producer.kv_heads; ++head) {
      for (int key_or_value = 0; key_or_value < 2; ++key_or_value) {
        for (int token = 0; token < tokens_per_page; ++token) {
          for (int64_t i = 0; i < BytesOf(dtype, producer.head_dim); ++i) owner.push_back(token);
        }
      }
    }
  }
  while (owner.size() % 4096 != 0) owner.push_back(kPadding);
  return owner;
}

struct Case {
  std::vector<PageLayout::Producer> producers;
  DType dtype;
  int tokens_per_page;
  std::vector<int64_t> offsets;
  int64_t page_bytes;
  int64_t bytes_per_token;
};

std::vector<Case> Cases() {
  return {
      // One tiny producer: nearly all padding.
      {{{0, 1, 1}}, DType::kBf16, 16, {0}, 4096, 4},
      // Exactly one page; one value more needs the next.
      {{{3, 1, 64}}, DType::kBf16, 16, {0}, 4096, 256},
      {{{3, 1, 65}}, DType::kBf16, 16, {0}, 8192, 260},
      // Two KV heads, three producers, as in an LCKV w = 2 model.
      {{{0, 2, 32}, {6, 2, 32}, {7, 2, 32}}, DType::kBf16, 16, {0, 4096, 8192}, 12288, 768},
      {{{0, 2, 32}, {6, 2, 32}, {7, 2, 32}}, DType::kF32, 64, {0, 32768, 65536}, 98304, 1536},
      // Producers that differ in shape, not in layer order.
      {{{5, 1, 48}, {1, 4, 8}, {2, 3, 2}}, DType::kF16, 32, {0, 6144, 10240}, 12288, 344},
  };
}

TEST(PageLayoutTest, OffsetsAndSizes) {
  for (const Case& c : Cases()) {
    ASSERT_OK_AND_ASSIGN(const PageLayout layout,
                         PageLayout::Create(c.producers, c.dtype, c.tokens_per_page));
    EXPECT_EQ(layout.page_bytes(), c.page_bytes);
    EXPECT_EQ(layout.bytes_per_token(), c.bytes_per_token);
    EXPECT_EQ(layout.dtype(), c.dtype);
    EXPECT_EQ(layout.tokens_per_page(), c.tokens_per_page);
    ASSERT_EQ(layout.producers().size(), c.producers.size());
    for (size_t i = 0; i < c.producers.size(); ++i) {
      const ProducerLayout& producer = layout.producers()[i];
      EXPECT_EQ(producer.layer, c.producers[i].layer);
      EXPECT_EQ(producer.kv_heads, c.producers[i].kv_heads);
      EXPECT_EQ(producer.head_dim, c.producers[i].head_dim);
      EXPECT_EQ(producer.offset_bytes, c.offsets[i]);
      EXPECT_EQ(layout.FindLayer(producer.layer), &producer);
      EXPECT_EQ(layout.value_offset_bytes(producer),
                BytesOf(c.dtype, int64_t{c.tokens_per_page} * producer.head_dim));
      EXPECT_EQ(layout.head_stride_bytes(producer), 2 * layout.value_offset_bytes(producer));
    }
  }
}

TEST(PageLayoutTest, FindsProducersOnly) {
  ASSERT_OK_AND_ASSIGN(const PageLayout layout,
                       PageLayout::Create({{0, 1, 8}, {4, 1, 8}}, DType::kBf16, 16));
  EXPECT_NE(layout.FindLayer(0), nullptr);
  EXPECT_NE(layout.FindLayer(4), nullptr);
  for (int layer : {-1, 1, 3, 5, 1 << 30}) EXPECT_EQ(layout.FindLayer(layer), nullptr) << layer;
}

TEST(PageLayoutTest, CountsPages) {
  ASSERT_OK_AND_ASSIGN(const PageLayout layout, PageLayout::Create({{0, 1, 8}}, DType::kBf16, 16));
  const struct {
    int64_t tokens, pages;
  } cases[] = {{0, 0}, {1, 1}, {15, 1}, {16, 1}, {17, 2}, {32, 2}, {33, 3}};
  for (const auto& c : cases) EXPECT_EQ(layout.PagesFor(c.tokens), c.pages) << c.tokens;
}

TEST(PageLayoutTest, ZeroBeyondKeepsTheTokensBytesOnly) {
  for (const Case& c : Cases()) {
    ASSERT_OK_AND_ASSIGN(const PageLayout layout,
                         PageLayout::Create(c.producers, c.dtype, c.tokens_per_page));
    const std::vector<int> owner = TokenOfByte(c.producers, c.dtype, c.tokens_per_page);
    ASSERT_EQ(static_cast<int64_t>(owner.size()), layout.page_bytes());
    for (int tokens = 0; tokens <= c.tokens_per_page; ++tokens) {
      // Bytes behind the page guard against writing too far.
      std::vector<uint8_t> page(owner.size() + 64, 0xAB);
      layout.ZeroBeyond(tokens, page.data());
      for (size_t i = 0; i < page.size(); ++i) {
        const bool kept = i >= owner.size() || owner[i] < tokens;
        ASSERT_EQ(page[i], kept ? 0xAB : 0) << "byte " << i << ", " << tokens << " tokens";
      }
    }
  }
}

TEST(PageLayoutTest, RefusesWhatHasNoLayout) {
  const struct {
    std::vector<PageLayout::Producer> producers;
    DType dtype;
    int tokens_per_page;
  } cases[] = {
      {{}, DType::kBf16, 16},
      {{{0, 0, 8}}, DType::kBf16, 16},
      {{{0, 1, 0}}, DType::kBf16, 16},
      {{{-1, 1, 8}}, DType::kBf16, 16},
      {{{0, 1, 8}, {0, 1, 8}}, DType::kBf16, 16},
      {{{0, 1, 32}}, DType::kQ8_0, 16},
      {{{0, 1, 8}}, DType::kBf16, 0},
      {{{0, 1, 8}}, DType::kBf16, -16},
      {{{0, 1, 8}}, DType::kBf16, 24},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(PageLayout::Create(c.producers, c.dtype, c.tokens_per_page),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace lckv
