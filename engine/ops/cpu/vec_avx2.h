#pragma once

#include <immintrin.h>

#include <cstdint>

#include "engine/ops/cpu/reduce_avx_inl.h"

namespace lckv::cpu {
namespace {  // see vec_generic.h

// The 16 lanes of GenericVec in two AVX registers. Needs AVX2, FMA and F16C.
struct Avx2Vec {
  static constexpr int kTileRows = 6;  // 12 sums, 2 weights, 1 broadcast: 15 of 16 registers

  __m256 lo;
  __m256 hi;

  static Avx2Vec Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Avx2Vec Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Avx2Vec Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  void Store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }

  static Avx2Vec LoadF16(const uint8_t* p) {
    return {_mm256_cvtph_ps(Load128(p)), _mm256_cvtph_ps(Load128(p + 16))};
  }
  static Avx2Vec LoadBf16(const uint8_t* p) {
    return {WidenBf16(Load128(p)), WidenBf16(Load128(p + 16))};
  }
  static Avx2Vec LoadI8(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load64(p))),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load64(p + 8)))};
  }
  static void LoadU4(const uint8_t* p, Avx2Vec& low, Avx2Vec& high) {
    const __m256i a = _mm256_cvtepu8_epi32(Load64(p));
    const __m256i b = _mm256_cvtepu8_epi32(Load64(p + 8));
    const __m256i mask = _mm256_set1_epi32(0xF);
    low = {_mm256_cvtepi32_ps(_mm256_and_si256(a, mask)),
           _mm256_cvtepi32_ps(_mm256_and_si256(b, mask))};
    high = {_mm256_cvtepi32_ps(_mm256_srli_epi32(a, 4)),
            _mm256_cvtepi32_ps(_mm256_srli_epi32(b, 4))};
  }
  void StoreF16(uint8_t* p) const {
    Store128(p, _mm256_cvtps_ph(lo, _MM_FROUND_TO_NEAREST_INT));
    Store128(p + 16, _mm256_cvtps_ph(hi, _MM_FROUND_TO_NEAREST_INT));
  }
  void StoreBf16(uint8_t* p) const {
    // Packing interleaves the 128-bit halves of its operands; the permutation puts them back in
    // order.
    const __m256i packed = _mm256_packus_epi32(RoundBf16(lo), RoundBf16(hi));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
  }

  friend Avx2Vec operator+(Avx2Vec a, Avx2Vec b) {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
  }
  friend Avx2Vec operator-(Avx2Vec a, Avx2Vec b) {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
  }
  friend Avx2Vec operator*(Avx2Vec a, Avx2Vec b) {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
  }
  friend Avx2Vec operator/(Avx2Vec a, Avx2Vec b) {
    return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
  }
  static Avx2Vec Fma(Avx2Vec a, Avx2Vec b, Avx2Vec c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static Avx2Vec Max(Avx2Vec a, Avx2Vec b) {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
  }
  static Avx2Vec SelectLess(Avx2Vec a, Avx2Vec b, Avx2Vec x, Avx2Vec y) {
    return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
  }
  static Avx2Vec PowerOfTwo(Avx2Vec biased) { return {Exponent(biased.lo), Exponent(biased.hi)}; }
  float Sum() const { return SumOf(_mm256_add_ps(lo, hi)); }
  float Largest() const { return LargestOf(_mm256_max_ps(lo, hi)); }
  static void SumEach(const Avx2Vec (&x)[8], float scale, float* out) {
    __m256 halves[8];
    for (int i = 0; i < 8; ++i) halves[i] = _mm256_add_ps(x[i].lo, x[i].hi);
    _mm256_storeu_ps(out, _mm256_mul_ps(SumEachOf(halves), _mm256_set1_ps(scale)));
  }

 private:
  static __m128i Load64(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i Load128(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static void Store128(uint8_t* p, __m128i x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x);
  }
  static __m256 WidenBf16(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static __m256i RoundBf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, quiet, is_nan);
  }
  static __m256 Exponent(__m256 biased) {
    const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(biased), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
  }
};

}  // namespace
}  // namespace lckv::cpu
