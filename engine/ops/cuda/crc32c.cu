// CRC-32C of pages, one block a page.
//
// The checksum is linear in the words of the page: word i of n counts times x^(32 (n - i)) modulo
// the polynomial. Thread t takes the words at t, t + kThreads, ... (neighbours read neighbours) of
// the page behind zeros, which add nothing and fill up its first row: one multiplication by
// x^(32 kThreads) a word, from tables of sixteen products for each half byte. Every lane has tables
// of its own in its own bank of shared memory, so lanes never wait for one another. In the end
// neighbours are joined in pairs, pairs in pairs, and so on.

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 256;
constexpr int32_t kWarps = kThreads / kWarp;
constexpr int32_t kNibbles = 8;  // of a word
constexpr int32_t kProducts = 16 * kNibbles;
constexpr int32_t kTableWords = kProducts * kWarp;

// Reflected, as all words here: bit 31 is x^0.
constexpr uint32_t kPolynomial = 0x82F63B78u;
constexpr uint32_t kOne = 0x80000000u;

LCKV_HOST_DEVICE constexpr uint32_t TimesX(uint32_t a) {
  return (a >> 1) ^ ((a & 1u) != 0 ? kPolynomial : 0u);
}

LCKV_HOST_DEVICE constexpr uint32_t Product(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int32_t bit = 31; bit >= 0; --bit) {
    if ((a >> bit & 1u) != 0) product ^= b;
    b = TimesX(b);
  }
  return product;
}

// x^(32 words) modulo the polynomial; `words` is a power of two.
LCKV_HOST_DEVICE constexpr uint32_t Shift(int32_t words) {
  uint32_t power = kOne;
  for (int32_t i = 0; i < 32; ++i) power = TimesX(power);
  for (; words > 1; words /= 2) power = Product(power, power);
  return power;
}

// `a` moved over kWords words. The powers in the loop are constants.
template <int32_t kWords>
LCKV_DEVICE inline uint32_t Shifted(uint32_t a) {
  constexpr uint32_t kShift = Shift(kWords);
  uint32_t product = 0;
  uint32_t power = kShift;
  for (int32_t bit = 31; bit >= 0; --bit) {
    product ^= (0u - (a >> bit & 1u)) & power;
    power = (power >> 1) ^ ((0u - (power & 1u)) & kPolynomial);
  }
  return product;
}

// The sum of lanes `lane` and `lane ^ distance`, the lower of which is kWords words further from
// the page's end.
template <int32_t kWords>
LCKV_DEVICE inline uint32_t Joined(uint32_t sum, int32_t lane, int32_t distance) {
  const uint32_t other = device::ShuffleXor(sum, distance);
  const bool right = (lane & distance) != 0;
  return Shifted<kWords>(right ? other : sum) ^ (right ? sum : other);
}

// products[(16 j + v) * kWarp + lane]: v at half byte j, moved over kThreads words.
template <typename Shared>
LCKV_DEVICE inline uint32_t NextRow(const Shared& products, uint32_t sum, int32_t lane) {
  uint32_t moved = 0;
  for (int32_t j = 0; j < kNibbles; ++j) {
    const auto v = static_cast<int32_t>(sum >> (4 * j) & 15u);
    moved ^= products[(16 * j + v) * kWarp + lane];
  }
  return moved;
}

__global__ void __launch_bounds__(kThreads) Crc32cKernel(Crc32cParams args) {
  LCKV_SHARED(uint32_t, products, kTableWords);
  LCKV_SHARED(uint32_t, once, kProducts);
  LCKV_SHARED(uint32_t, partial, kWarps);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % kWarp;
  const int32_t warp = thread / kWarp;
  if (thread < kProducts) {
    once[thread] = Shifted<kThreads>(static_cast<uint32_t>(thread % 16) << (thread / 16 * 4));
  }
  __syncthreads();
  for (int32_t i = warp; i < kProducts; i += kWarps) products[i * kWarp + lane] = once[i];
  __syncthreads();

  const auto* page = static_cast<const uint32_t*>(args.pages[blockIdx.x]);
  const int64_t words = args.page_bytes / 4;
  const int64_t rows = (words + kThreads - 1) / kThreads;
  int64_t i = thread + words - rows * kThreads;  // below zero: in the zeros before the page
  uint32_t sum = i < 0 ? 0u : page[i];
  if (i == 0) sum = ~sum;  // the checksum's initial value
  for (i += kThreads; i < words; i += kThreads) {
    sum = NextRow(products, sum, lane) ^ page[i];
  }

  sum = Joined<1>(sum, lane, 1);
  sum = Joined<2>(sum, lane, 2);
  sum = Joined<4>(sum, lane, 4);
  sum = Joined<8>(sum, lane, 8);
  sum = Joined<16>(sum, lane, 16);
  if (lane == 0) partial[warp] = sum;
  __syncthreads();
  if (warp > 0) return;
  sum = partial[lane % kWarps];
  sum = Joined<kWarp>(sum, lane, 1);
  sum = Joined<2 * kWarp>(sum, lane, 2);
  sum = Joined<4 * kWarp>(sum, lane, 4);
  if (lane == 0) args.out[blockIdx.x] = ~Shifted<1>(sum);
}

}  // namespace

int LaunchCrc32c(const Crc32cParams& args, Stream stream) {
  return Launch(Crc32cKernel, {static_cast<unsigned>(args.rows)}, {kThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
