#pragma once

#include <immintrin.h>

#include <cstdint>

#include "engine/ops/cpu/reduce_avx_inl.h"

namespace lckv::cpu {
namespace {  // see vec_generic.h

// The 16 lanes of GenericVec in one AVX-512 register. Needs AVX-512 F, BW, VL and DQ.
struct Avx512Vec {
  static constexpr int kTileRows = 12;

  __m512 v;

  static Avx512Vec Zero() { return {_mm512_setzero_ps()}; }
  static Avx512Vec Set(float x) { return {_mm512_set1_ps(x)}; }
  static Avx512Vec Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }

  static Avx512Vec LoadF16(const uint8_t* p) { return {_mm512_cvtph_ps(Load256(p))}; }
  static Avx512Vec LoadBf16(const uint8_t* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(Load256(p)), 16))};
  }
  static Avx512Vec LoadI8(const uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load128(p)))};
  }
  static void LoadU4(const uint8_t* p, Avx512Vec& low, Avx512Vec& high) {
    // A permutation looks at the low four bits of each index only: the table turns nibbles into
    // floats without a mask.
    const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i bytes = _mm512_cvtepu8_epi32(Load128(p));
    low = {_mm512_permutexvar_ps(bytes, table)};
    high = {_mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table)};
  }
  void StoreF16(uint8_t* p) const { Store256(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
  void StoreBf16(uint8_t* p) const {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    Store256(p, _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(is_nan, rounded, quiet)));
  }

  friend Avx512Vec operator+(Avx512Vec a, Avx512Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Avx512Vec operator-(Avx512Vec a, Avx512Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Avx512Vec operator*(Avx512Vec a, Avx512Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Avx512Vec operator/(Avx512Vec a, Avx512Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
  static Avx512Vec Fma(Avx512Vec a, Avx512Vec b, Avx512Vec c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  static Avx512Vec Max(Avx512Vec a, Avx512Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Avx512Vec SelectLess(Avx512Vec a, Avx512Vec b, Avx512Vec x, Avx512Vec y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
  }
  static Avx512Vec PowerOfTwo(Avx512Vec biased) {
    const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(biased.v), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 23))};
  }
  float Sum() const { return SumOf(_mm256_add_ps(Low(v), High(v))); }
  float Largest() const { return LargestOf(_mm256_max_ps(Low(v), High(v))); }
  static void SumEach(const Avx512Vec (&x)[8], float scale, float* out) {
    __m256 halves[8];
    for (int i = 0; i < 8; ++i) halves[i] = _mm256_add_ps(Low(x[i].v), High(x[i].v));
    _mm256_storeu_ps(out, _mm256_mul_ps(SumEachOf(halves), _mm256_set1_ps(scale)));
  }

 private:
  static __m256 Low(__m512 x) { return _mm512_castps512_ps256(x); }
  static __m256 High(__m512 x) { return _mm512_extractf32x8_ps(x, 1); }
  static __m128i Load128(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m256i Load256(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store256(uint8_t* p, __m256i x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
  }
};

}  // namespace
}  // namespace lckv::cpu
