// Every golden map, every way of evaluating it, on every backend at hand: within tolerance of the
// double-precision logits, and bitwise equal whatever the chunking, the number of threads, the
// batch and the borders that must not matter.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/model/checkpoint.h"
#include "engine/ops/backend.h"
#include "engine/runtime/evaluator.h"
#include "engine/transformer/model.h"
#include "tests/conformance/test_gpu.h"
#include "tests/testing/golden_case.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::GoldenCase;

constexpr float kTolerance = 2e-4f;
constexpr float kClearMargin = 1e-3f;
// With weights, activations and KV in bf16 the model itself is another one, a little: the root mean
// square error of the logits, relative to theirs. Seen: up to 0.02.
constexpr double kBf16Error = 0.04;

constexpr char kGpuBf16[] = "gpu-bf16";

using Logits = std::vector<float>;  // [tokens][vocab]

struct Setup {
  // Or an instruction set of the CPU backend, "gpu" (in float32) or "gpu-bf16".
  std::string backend = "reference";
  int threads = 1;
  int chunk = 64;
  DType kv_dtype = DType::kF32;
};

std::unique_ptr<Backend> MakeBackend(const Setup& setup) {
  if (setup.backend == "reference") return MakeReferenceBackend();
  if (setup.backend == "gpu") return testing::OpenTestGpu(DType::kF32);
  if (setup.backend == kGpuBf16) return testing::OpenTestGpu(DType::kBf16);
  auto backend = MakeCpuBackend({setup.threads, setup.backend});
  EXPECT_OK(backend);
  return *std::move(backend);
}

// A model on a backend, ready to evaluate.
class Subject {
 public:
  Subject(const GoldenCase& golden, const Setup& setup) : backend_(MakeBackend(setup)) {
    auto checkpoint = Checkpoint::Open(golden.path, {});
    EXPECT_OK(checkpoint);
    const bool bf16 = backend_->activation_dtype() == DType::kBf16;
    auto model = Model::Load(**checkpoint, backend_.get(), bf16 ? "bf16" : "f32", 512);
    EXPECT_OK(model);
    model_ = *std::move(model);
    Evaluator::Options options;
    options.kv_dtype = setup.kv_dtype;
    options.chunk = setup.chunk;
    options.max_tokens = 512;
    auto evaluator = Evaluator::Create(model_.get(), options);
    EXPECT_OK(evaluator);
    evaluator_ = *std::move(evaluator);
  }

  Logits Run(absl::Span<const int32_t> tokens, absl::Span<const SegmentRun> segments, int passes) {
    const auto vocab = static_cast<size_t>(model_->config().vocab_size);
    Logits logits(tokens.size() * vocab, NAN);
    auto result = evaluator_->Evaluate(
        tokens, segments, passes, [&](int32_t position, absl::Span<const float> row) {
          std::copy(row.begin(), row.end(),
                    logits.begin() + static_cast<int64_t>(static_cast<size_t>(position) * vocab));
        });
    EXPECT_OK(result);
    return logits;
  }
  Logits Exact(const GoldenCase& golden) {
    return Run(golden.tokens, {{{static_cast<int32_t>(golden.tokens.size()), true}}},
               golden.passes);
  }
  Logits Paper(const GoldenCase& golden) {
    return Run(golden.tokens, {{{static_cast<int32_t>(golden.tokens.size()), false}}},
               golden.passes);
  }
  Logits Segments(const GoldenCase& golden) {
    return Run(golden.tokens, golden.segments, golden.passes);
  }
  size_t vocab() const { return static_cast<size_t>(model_->config().vocab_size); }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Evaluator> evaluator_;
};

void ExpectNear(const Logits& actual, const std::string& file, size_t vocab) {
  const Logits expected = testing::ReadFloats(file);
  ASSERT_EQ(actual.size(), expected.size()) << file;
  float worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_FALSE(std::isnan(actual[i])) << file << " at " << i;
    worst = std::max(worst, std::abs(actual[i] - expected[i]));
  }
  EXPECT_LE(worst, kTolerance) << file;
  for (size_t row = 0; row < actual.size() / vocab; ++row) {
    const auto begin = expected.begin() + static_cast<int64_t>(row * vocab);
    const auto best = std::max_element(begin, begin + static_cast<int64_t>(vocab)) - begin;
    float second = -INFINITY;
    for (size_t i = 0; i < vocab; ++i) {
      if (static_cast<int64_t>(i) != best)
        second = std::max(second, begin[static_cast<int64_t>(i)]);
    }
    if (begin[best] - second < kClearMargin) continue;
    const auto got = actual.begin() + static_cast<int64_t>(row * vocab);
    EXPECT_EQ(std::max_element(got, got + static_cast<int64_t>(vocab)) - got, best)
        << file << " row " << row;
  }
}

void ExpectLike(const Logits& actual, const std::string& file) {
  const Logits expected = testing::ReadFloats(file);
  ASSERT_EQ(actual.size(), expected.size()) << file;
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = static_cast<double>(actual[i]) - static_cast<double>(expected[i]);
    error += difference * difference;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  EXPECT_LE(std::sqrt(error / size), kBf16Error) << file;
}

::testing::AssertionResult BitwiseEqual(const Logits& a, const Logits& b, size_t count = SIZE_MAX) {
  const size_t compared = std::min({a.size(), b.size(), count});
  if (count == SIZE_MAX && a.size() != b.size()) {
    return ::testing::AssertionFailure() << a.size() << " values against " << b.size();
  }
  for (size_t i = 0; i < compared; ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure() << "value " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// The maps whose bits are compared: all, or on a GPU, which may be a simulated one, one of each
// kind unless $LCKV_TEST_ALL_MAPS is set.
std::vector<std::string> NamesForBits() {
  if (testing::kGpuOnly && std::getenv("LCKV_TEST_ALL_MAPS") == nullptr) {
    return {"lckv-w2-nodiag", "llama-gqa-tied", "odd-map"};
  }
  return testing::GoldenNames();
}

// The backends of this machine; `vectorised`: only those with an instruction set of their own.
std::vector<std::string> Backends(bool vectorised) {
  if (testing::kGpuOnly && vectorised) return {"gpu", kGpuBf16};
  if (testing::kGpuOnly) return {"gpu"};
  std::vector<std::string> names;
  for (const char* isa : {"avx2", "avx512"}) {
    if (MakeCpuBackend({1, isa}).ok()) names.push_back(isa);
  }
  if (!vectorised || names.empty()) names.push_back("generic");
  if (!vectorised) names.push_back("reference");
  return names;
}

class GoldenLogitsTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  const std::string& backend() const { return std::get<1>(GetParam()); }
  GoldenCase golden_ = testing::LoadGoldenCase(std::get<0>(GetParam()));
};

class GoldenBitsTest : public GoldenLogitsTest {};

TEST_P(GoldenLogitsTest, WithinTolerance) {
  const bool bf16 = backend() == kGpuBf16;
  Subject subject(golden_, {.backend = backend(), .kv_dtype = bf16 ? DType::kBf16 : DType::kF32});
  const auto expect = [&](const Logits& logits, const char* name) {
    const std::string file = golden_.path + name;
    return bf16 ? ExpectLike(logits, file) : ExpectNear(logits, file, subject.vocab());
  };
  expect(subject.Exact(golden_), "/exact.f32");
  if (!golden_.cyclic) return;
  expect(subject.Paper(golden_), "/paper.f32");
  expect(subject.Segments(golden_), "/segments.f32");
}

TEST_P(GoldenBitsTest, ChunksAndThreadsChangeNoBit) {
  for (const DType kv : {DType::kF32, DType::kBf16}) {
    if (kv == DType::kF32 && backend() == kGpuBf16) continue;  // nobody runs that
    Subject base(golden_, {.backend = backend(), .chunk = 64, .kv_dtype = kv});
    const Logits paper = base.Paper(golden_);
    const Logits exact = base.Exact(golden_);
    for (const int chunk : {1, 7, 300}) {
      Subject other(golden_, {.backend = backend(), .threads = 2, .chunk = chunk, .kv_dtype = kv});
      EXPECT_TRUE(BitwiseEqual(other.Paper(golden_), paper)) << "chunk " << chunk;
      EXPECT_TRUE(BitwiseEqual(other.Exact(golden_), exact)) << "chunk " << chunk;
      if (golden_.cyclic) {
        EXPECT_TRUE(BitwiseEqual(other.Segments(golden_), base.Segments(golden_)));
      }
    }
  }
}

// n <= K passes make n tokens exact, and an acyclic map is always exact.
TEST_P(GoldenBitsTest, ShortSegmentsAreExact) {
  Subject subject(golden_, {.backend = backend(), .kv_dtype = DType::kBf16});
  const Logits exact = subject.Exact(golden_);
  const auto n = static_cast<int32_t>(golden_.tokens.size());
  if (!golden_.cyclic) {
    EXPECT_TRUE(BitwiseEqual(subject.Paper(golden_), exact));
    return;
  }
  for (const int32_t length : {2, 5, golden_.passes}) {
    std::vector<SegmentRun> segments;
    for (int32_t left = n; left > 0; left -= length)
      segments.push_back({std::min(left, length), false});
    EXPECT_TRUE(BitwiseEqual(subject.Run(golden_.tokens, segments, golden_.passes), exact))
        << "segments of " << length;
  }
}

// A token's bits depend on the tokens from its segment's start only.
TEST_P(GoldenBitsTest, WhereASegmentEndsDoesNotMatter) {
  Subject subject(golden_, {.backend = backend(), .kv_dtype = DType::kBf16});
  const Logits whole = subject.Paper(golden_);
  for (const size_t length : {size_t{1}, size_t{4}, size_t{9}, size_t{10}, size_t{33}}) {
    const auto tokens = absl::MakeConstSpan(golden_.tokens).subspan(0, length);
    const Logits prefix =
        subject.Run(tokens, {{{static_cast<int32_t>(length), false}}}, golden_.passes);
    EXPECT_TRUE(BitwiseEqual(whole, prefix, length * subject.vocab())) << length << " tokens";
  }
}

std::string ParamName(const ::testing::TestParamInfo<std::tuple<std::string, std::string>>& info) {
  std::string name = std::get<0>(info.param) + "_" + std::get<1>(info.param);
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(AllMaps, GoldenLogitsTest,
                         ::testing::Combine(::testing::ValuesIn(testing::GoldenNames()),
                                            ::testing::ValuesIn(Backends(/*vectorised=*/false))),
                         ParamName);
INSTANTIATE_TEST_SUITE_P(AllMaps, GoldenBitsTest,
                         ::testing::Combine(::testing::ValuesIn(NamesForBits()),
                                            ::testing::ValuesIn(Backends(/*vectorised=*/true))),
                         ParamName);

#ifdef LCKV_TEST_GPU_LIBRARY
INSTANTIATE_TEST_SUITE_P(SomeMaps, GoldenLogitsTest,
                         ::testing::Combine(::testing::ValuesIn(NamesForBits()),
                                            ::testing::Values(kGpuBf16)),
                         ParamName);
#else
// The bits of one numerics class do not depend on the instruction set.
TEST(GoldenLogitsAcrossIsas, SameBits) {
  for (const std::string& name : testing::GoldenNames()) {
    const GoldenCase golden = testing::LoadGoldenCase(name);
    Subject generic(golden, {.backend = "generic", .kv_dtype = DType::kBf16});
    for (const std::string& isa : Backends(/*vectorised=*/true)) {
      Subject other(golden, {.backend = isa, .kv_dtype = DType::kBf16});
      EXPECT_TRUE(BitwiseEqual(other.Paper(golden), generic.Paper(golden))) << name << " " << isa;
    }
  }
}
#endif

}  // namespace
}  // namespace lckv
