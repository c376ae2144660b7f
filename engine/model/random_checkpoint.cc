// Checkpoints with made-up weights.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/model/tensor_source.h"
#include "engine/tensor/parallel_for.h"

namespace lckv {
namespace {

constexpr float kDeviation = 0.02f;
constexpr int64_t kRowsPerTask = 64;

// The finaliser of SplitMix64: a bijection of 64-bit numbers that mixes every bit into every other.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Nearly normal: the sum of four uniform 16-bit numbers, centred. Only integers are added, so that
// every machine gets the same bits; a single multiplication scales them.
float NormalValue(uint64_t key, uint64_t index) {
  const uint64_t bits = Mix(key + (index + 1) * 0x9E3779B97F4A7C15u);
  const auto sum = static_cast<int32_t>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) +
                                        ((bits >> 32) & 0xFFFF) + (bits >> 48));
  constexpr float kSumDeviation = 37837.23f;  // 65536 / sqrt(3)
  return static_cast<float>(sum - 131070) * (kDeviation / kSumDeviation);
}

// "model.layers.7.mlp.up_proj.weight" -> "model.layers.0.mlp.up_proj.weight"; others as they are.
std::string NameInFirstLayer(absl::string_view name) {
  const absl::string_view prefix = kHfNames.layer;
  absl::string_view rest = name;
  if (!absl::ConsumePrefix(&rest, prefix)) return std::string(name);
  return absl::StrCat(prefix, "0", rest.substr(rest.find('.')));
}

// Matrices in the weights' dtype; vectors in float32, those of norms all ones.
class RandomSource final : public TensorSource {
 public:
  explicit RandomSource(const Checkpoint::RandomWeights& weights)
      : seed_(weights.seed), dtype_(weights.dtype), repeat_layers_(weights.repeat_layers) {}

  absl::StatusOr<HostMatrix> Load(const std::string& name, int64_t rows, int64_t cols) override {
    if (!repeat_layers_) return Make(name, rows, cols);
    const std::string shared_name = NameInFirstLayer(name);
    const auto made = made_.find(shared_name);
    if (made != made_.end()) return made->second;
    LCKV_ASSIGN_OR_RETURN(const HostMatrix matrix, Make(shared_name, rows, cols));
    made_.emplace(shared_name, matrix);
    return matrix;
  }

  std::vector<std::unique_ptr<uint8_t[]>> TakeBuffers() { return std::move(buffers_); }

 private:
  absl::StatusOr<HostMatrix> Make(const std::string& name, int64_t rows, int64_t cols) {
    HostMatrix matrix;
    matrix.dtype = rows == 1 ? DType::kF32 : dtype_;
    matrix.rows = rows;
    matrix.cols = cols;
    if (cols % UnitOf(matrix.dtype) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("random weights: tensor \"", name,
                                                     "\" has rows of ", cols, " values, ",
                                                     Name(dtype_), " needs multiples of 32"));
    }
    const int64_t row_bytes = BytesOf(matrix.dtype, cols);
    LCKV_RETURN_IF_ERROR(CheckMemory(rows * row_bytes));
    // Not zeroed: Fill writes every byte, on several threads.
    std::unique_ptr<uint8_t[]> buffer(new (std::nothrow)
                                          uint8_t[static_cast<size_t>(rows * row_bytes)]);
    if (buffer == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("random weights: no memory for ", rows * row_bytes, " bytes"));
    }
    Fill(name, matrix, row_bytes, buffer.get());
    matrix.data = buffer.get();
    buffers_.push_back(std::move(buffer));
    return matrix;
  }

  // The system would promise more than it has and kill us later.
  absl::Status CheckMemory(int64_t size_bytes) {
    total_bytes_ += size_bytes;
    const int64_t memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    if (total_bytes_ <= memory_bytes) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(
        "random weights: the model is larger than this machine's ", FormatBytes(memory_bytes)));
  }

  void Fill(const std::string& name, const HostMatrix& matrix, int64_t row_bytes, uint8_t* out) {
    const bool is_norm = matrix.rows == 1 && absl::StrContains(name, "norm");
    // Each tensor has its own stream, whatever else is loaded.
    const Sha256Digest digest = Sha256Of(absl::StrCat(seed_, " ", name));
    uint64_t key = 0;
    for (size_t i = 0; i < sizeof(key); ++i) key |= uint64_t{digest[i]} << (8 * i);

    ParallelFor(CeilDiv(matrix.rows, kRowsPerTask), LoadThreads(), [&](int64_t task) {
      std::vector<float> values(static_cast<size_t>(matrix.cols), 1.0f);
      const int64_t end = std::min(matrix.rows, (task + 1) * kRowsPerTask);
      for (int64_t row = task * kRowsPerTask; row < end; ++row) {
        for (int64_t col = 0; col < matrix.cols && !is_norm; ++col) {
          const auto index = static_cast<uint64_t>(row * matrix.cols + col);
          values[static_cast<size_t>(col)] = NormalValue(key, index);
        }
        QuantizeRow(values.data(), matrix.cols, matrix.dtype, out + row * row_bytes);
      }
    });
  }

  const uint64_t seed_;
  const DType dtype_;
  const bool repeat_layers_;
  int64_t total_bytes_ = 0;
  std::map<std::string, HostMatrix> made_;  // with repeat_layers_: of layer 0 and outside layers
  std::vector<std::unique_ptr<uint8_t[]>> buffers_;
};

}  // namespace

absl::StatusOr<CheckpointParts> MakeRandom(ModelConfig config,
                                           const Checkpoint::RandomWeights& weights) {
  CheckpointParts parts;
  parts.config = std::move(config);
  RandomSource source(weights);
  LCKV_ASSIGN_OR_RETURN(parts.tensors, LoadTensors(parts.config, kHfNames, source));
  parts.buffers = source.TakeBuffers();
  // The shapes are in the fingerprint through the config.
  parts.generated_from =
      absl::StrCat("lckv random weights 1\n", weights.seed, "\n", Name(weights.dtype), "\n",
                   weights.repeat_layers ? "repeated layers\n" : "");
  return parts;
}

}  // namespace lckv
