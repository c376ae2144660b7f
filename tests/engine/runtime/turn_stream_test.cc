#include "engine/runtime/turn_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace lckv {
namespace {

int32_t Id(const std::optional<TurnEvent>& event) {
  return event.has_value() && std::holds_alternative<TurnToken>(*event)
             ? std::get<TurnToken>(*event).id
             : -1;
}

TEST(TurnStreamTest, KeepsOrderAndTellsWhenItIsFull) {
  TurnStream stream(2, nullptr);
  EXPECT_FALSE(stream.TryPop().has_value());
  EXPECT_TRUE(stream.HasSpace());
  stream.Push(TurnToken{1});
  EXPECT_TRUE(stream.HasSpace());
  stream.Push(TurnToken{2});
  EXPECT_FALSE(stream.HasSpace());
  EXPECT_EQ(Id(stream.TryPop()), 1);
  EXPECT_TRUE(stream.HasSpace());
  EXPECT_EQ(Id(stream.PopWithTimeout(absl::ZeroDuration())), 2);
  EXPECT_FALSE(stream.PopWithTimeout(absl::Milliseconds(1)).has_value());
}

TEST(TurnStreamTest, TheOutcomeAlwaysFits) {
  TurnStream stream(1, nullptr);
  stream.Push(TurnToken{1});
  TurnOutcome outcome;
  outcome.finish_reason = FinishReason::kLength;
  outcome.generated_tokens = 1;
  stream.Push(outcome);
  EXPECT_EQ(Id(stream.TryPop()), 1);
  const auto last = stream.TryPop();
  ASSERT_TRUE(last.has_value() && std::holds_alternative<TurnOutcome>(*last));
  EXPECT_EQ(std::get<TurnOutcome>(*last).finish_reason, FinishReason::kLength);
  EXPECT_EQ(std::get<TurnOutcome>(*last).generated_tokens, 1);
}

TEST(TurnStreamTest, SignalsAfterEachPushWithoutHoldingItsLock) {
  TurnStream* pointer = nullptr;
  std::vector<int32_t> seen;
  TurnStream stream(4, [&] { seen.push_back(Id(pointer->TryPop())); });
  pointer = &stream;
  stream.Push(TurnToken{5});
  stream.Push(TurnToken{6});
  EXPECT_EQ(seen, (std::vector<int32_t>{5, 6}));
}

TEST(TurnStreamTest, AWaitingConsumerGetsEverything) {
  constexpr int kTokens = 2000;
  auto stream = std::make_shared<TurnStream>(4, nullptr);
  std::vector<int32_t> seen;
  std::thread consumer([&seen, stream] {
    while (true) {
      const auto event = stream->PopWithTimeout(absl::Minutes(1));
      if (Id(event) < 0) break;
      seen.push_back(Id(event));
    }
  });
  for (int i = 0; i < kTokens; ++i) {
    while (!stream->HasSpace()) std::this_thread::yield();
    stream->Push(TurnToken{i});
  }
  stream->Push(TurnOutcome());
  consumer.join();
  ASSERT_EQ(seen.size(), size_t{kTokens});
  for (int i = 0; i < kTokens; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace lckv
