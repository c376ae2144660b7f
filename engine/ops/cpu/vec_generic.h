#pragma once

#include <cstdint>
#include <cstring>

#include "engine/tensor/dtype.h"

namespace lckv::cpu {
// Internal linkage on purpose, as all code that is compiled per instruction set: the linker must
// not merge it.
namespace {

// 16 float32 lanes in plain C++. The definition of what each operation means, to the bit;
// vec_avx2.h and vec_avx512.h do the same with intrinsics.
struct GenericVec {
  static constexpr int kTileRows = 4;  // rows of x that Linear multiplies with a panel at a time

  float v[16];

  template <typename F>
  static GenericVec Make(F lane) {
    GenericVec r;
    for (int i = 0; i < 16; ++i) r.v[i] = lane(i);
    return r;
  }

  static GenericVec Zero() {
    return Make([](int) { return 0.0f; });
  }
  static GenericVec Set(float x) {
    return Make([=](int) { return x; });
  }
  static GenericVec Load(const float* p) {
    GenericVec r;
    std::memcpy(r.v, p, sizeof(r.v));
    return r;
  }
  void Store(float* p) const { std::memcpy(p, v, sizeof(v)); }

  // 16 consecutive values of a narrower format.
  static GenericVec LoadF16(const uint8_t* p) {
    return Make([=](int i) { return F16ToF32(LoadU16(p + 2 * i)); });
  }
  static GenericVec LoadBf16(const uint8_t* p) {
    return Make([=](int i) { return Bf16ToF32(LoadU16(p + 2 * i)); });
  }
  static GenericVec LoadI8(const uint8_t* p) {
    return Make([=](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
  }
  // The low and the high nibbles of 16 bytes.
  static void LoadU4(const uint8_t* p, GenericVec& low, GenericVec& high) {
    low = Make([=](int i) { return static_cast<float>(p[i] & 0xF); });
    high = Make([=](int i) { return static_cast<float>(p[i] >> 4); });
  }
  // To nearest, ties to even.
  void StoreF16(uint8_t* p) const {
    for (int i = 0; i < 16; ++i) StoreU16(p + 2 * i, F32ToF16(v[i]));
  }
  void StoreBf16(uint8_t* p) const {
    for (int i = 0; i < 16; ++i) StoreU16(p + 2 * i, F32ToBf16(v[i]));
  }

  friend GenericVec operator+(GenericVec a, GenericVec b) {
    return Make([&](int i) { return a.v[i] + b.v[i]; });
  }
  friend GenericVec operator-(GenericVec a, GenericVec b) {
    return Make([&](int i) { return a.v[i] - b.v[i]; });
  }
  friend GenericVec operator*(GenericVec a, GenericVec b) {
    return Make([&](int i) { return a.v[i] * b.v[i]; });
  }
  friend GenericVec operator/(GenericVec a, GenericVec b) {
    return Make([&](int i) { return a.v[i] / b.v[i]; });
  }
  // a * b + c, rounded once.
  static GenericVec Fma(GenericVec a, GenericVec b, GenericVec c) {
    return Make([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  // b where a is not greater, also when either is NaN.
  static GenericVec Max(GenericVec a, GenericVec b) {
    return Make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  // a < b ? x : y
  static GenericVec SelectLess(GenericVec a, GenericVec b, GenericVec x, GenericVec y) {
    return Make([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
  }
  // 2^n of lanes that hold 1.5 * 2^23 + n, n in [-126, 127].
  static GenericVec PowerOfTwo(GenericVec biased) {
    return Make([&](int i) {
      uint32_t bits;
      std::memcpy(&bits, &biased.v[i], sizeof(bits));
      bits = (bits + 127) << 23;
      float power;
      std::memcpy(&power, &bits, sizeof(power));
      return power;
    });
  }
  // The sum of the lanes: i + i+8, + i+4, + i+2, + i+1.
  float Sum() const {
    float s[8];
    for (int i = 0; i < 8; ++i) s[i] = v[i] + v[i + 8];
    for (int i = 0; i < 4; ++i) s[i] = s[i] + s[i + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
  }
  // The largest lane, compared in the same tree.
  float Largest() const {
    GenericVec m = *this;
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) m.v[i] = m.v[i] > m.v[i + half] ? m.v[i] : m.v[i + half];
    }
    return m.v[0];
  }
  // out[i] = x[i].Sum() * scale
  static void SumEach(const GenericVec (&x)[8], float scale, float* out) {
    for (int i = 0; i < 8; ++i) out[i] = x[i].Sum() * scale;
  }

 private:
  static uint16_t LoadU16(const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    return bits;
  }
  static void StoreU16(uint8_t* p, uint16_t bits) { std::memcpy(p, &bits, sizeof(bits)); }
};

}  // namespace
}  // namespace lckv::cpu
