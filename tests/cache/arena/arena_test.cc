#include "cache/arena/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;

constexpr uint64_t kPage = 4096;

std::unique_ptr<Arena> MakeArena(uint64_t pages) {
  absl::StatusOr<std::unique_ptr<Arena>> arena = Arena::Create(pages * kPage, false);
  EXPECT_OK(arena);
  return *std::move(arena);
}

ArenaBlock AllocateOne(Arena& arena, uint64_t pages) {
  absl::StatusOr<std::vector<ArenaBlock>> blocks = arena.Allocate(1, pages * kPage);
  EXPECT_OK(blocks);
  return std::move(blocks->front());
}

TEST(Arena, SizesAreChecked) {
  EXPECT_THAT(Arena::Create(4095, false), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK_AND_ASSIGN(const auto arena, Arena::Create(3 * kPage + 5, true));
  EXPECT_EQ(arena->capacity_bytes(), 3 * kPage);
  for (uint64_t length : {uint64_t{0}, uint64_t{1}, kPage + 1}) {
    EXPECT_THAT(arena->Allocate(1, length), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(arena->Allocate(SIZE_MAX, kPage), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(arena->Allocate(1, ~uint64_t{4095}), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(Arena, BlocksAreDistinctAndWritable) {
  const auto arena = MakeArena(8);
  ASSERT_OK_AND_ASSIGN(std::vector<ArenaBlock> blocks, arena->Allocate(4, 2 * kPage));
  for (size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(blocks[i].bytes().size(), 2 * kPage);
    std::memset(blocks[i].bytes().data(), static_cast<int>(i), 2 * kPage);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(blocks[i].bytes().front(), static_cast<char>(i));
    EXPECT_EQ(blocks[i].bytes().back(), static_cast<char>(i));
  }
  EXPECT_EQ(arena->used_bytes(), 8 * kPage);
}

TEST(Arena, AllOrNothing) {
  const auto arena = MakeArena(8);
  const ArenaBlock held = AllocateOne(*arena, 3);
  EXPECT_THAT(arena->Allocate(3, 2 * kPage), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(arena->used_bytes(), 3 * kPage);
  EXPECT_TRUE(arena->TEST_Consistent());
  EXPECT_OK(arena->Allocate(2, 2 * kPage));
}

TEST(Arena, FreedNeighboursMerge) {
  const auto arena = MakeArena(6);
  ArenaBlock a = AllocateOne(*arena, 2);
  ArenaBlock b = AllocateOne(*arena, 2);
  ArenaBlock c = AllocateOne(*arena, 2);
  a.Reset();
  c.Reset();
  EXPECT_THAT(arena->Allocate(1, 3 * kPage), StatusIs(absl::StatusCode::kResourceExhausted));
  b.Reset();
  EXPECT_TRUE(arena->TEST_Consistent());
  EXPECT_OK(arena->Allocate(1, 6 * kPage));
}

TEST(Arena, PrefersTheSmallestRunThatFits) {
  const auto arena = MakeArena(10);
  ArenaBlock large = AllocateOne(*arena, 4);
  const ArenaBlock wall_1 = AllocateOne(*arena, 1);
  ArenaBlock small = AllocateOne(*arena, 2);
  const ArenaBlock wall_2 = AllocateOne(*arena, 3);
  const uint64_t small_offset = small.extent().offset_bytes;
  large.Reset();
  small.Reset();
  EXPECT_EQ(AllocateOne(*arena, 2).extent().offset_bytes, small_offset);
}

TEST(Arena, OldExtentsAreNotLive) {
  const auto arena = MakeArena(2);
  const auto other = MakeArena(2);
  ArenaBlock block = AllocateOne(*arena, 1);
  const ArenaExtent first = block.extent();
  EXPECT_TRUE(arena->IsLive(first));
  EXPECT_FALSE(other->IsLive(first));
  block.Reset();
  EXPECT_FALSE(arena->IsLive(first));
  block = AllocateOne(*arena, 1);
  ASSERT_EQ(block.extent().offset_bytes, first.offset_bytes);
  EXPECT_FALSE(arena->IsLive(first));
  ArenaExtent longer = block.extent();
  longer.length_bytes += kPage;
  EXPECT_FALSE(arena->IsLive(longer));
}

TEST(ArenaBlock, MovesOwnership) {
  const auto arena = MakeArena(2);
  ArenaBlock a = AllocateOne(*arena, 1);
  ArenaBlock b = std::move(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(arena->live_blocks(), 1u);
  b = AllocateOne(*arena, 1);
  EXPECT_EQ(arena->live_blocks(), 1u);
  b.Reset();
  b.Reset();
  EXPECT_EQ(arena->live_blocks(), 0u);
}

TEST(Arena, RandomWalkKeepsTheInvariant) {
  const auto arena = MakeArena(64);
  std::mt19937 rng(7);
  std::vector<ArenaBlock> held;
  for (int step = 0; step < 3000; ++step) {
    if (rng() % 2 == 0 || held.empty()) {
      auto blocks = arena->Allocate(1 + rng() % 3, (1 + rng() % 9) * kPage);
      if (blocks.ok()) {
        for (ArenaBlock& block : *blocks) held.push_back(std::move(block));
      }
    } else {
      std::swap(held[rng() % held.size()], held.back());
      held.pop_back();
    }
    ASSERT_TRUE(arena->TEST_Consistent()) << "step " << step;
  }
  held.clear();
  EXPECT_OK(arena->Allocate(1, 64 * kPage));
}

TEST(Arena, ManyThreads) {
  const auto arena = MakeArena(64);
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&arena, seed] {
      std::mt19937 rng(seed);
      for (int i = 0; i < 500; ++i) {
        auto blocks = arena->Allocate(1 + rng() % 4, (1 + rng() % 4) * kPage);
        if (!blocks.ok()) continue;
        for (ArenaBlock& block : *blocks) {
          std::memset(block.bytes().data(), static_cast<int>(seed), block.bytes().size());
        }
        for (const ArenaBlock& block : *blocks) {
          EXPECT_EQ(block.bytes().front(), static_cast<char>(seed));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena->used_bytes(), 0u);
  EXPECT_TRUE(arena->TEST_Consistent());
}

}  // namespace
}  // namespace lckv
