#pragma once

#include <immintrin.h>

namespace lckv::cpu {
namespace {  // see vec_generic.h

// The lower three levels of GenericVec's reductions, i + i+4, + i+2, + i+1, for lanes 0 to 7.

inline float SumOf(__m256 s8) {
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

inline float LargestOf(__m256 m8) {
  const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
  const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
  return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

// Lane i of the result is SumOf(s[i]): the same additions, eight at a time. Each level halves the
// number of vectors and the lanes that a sum takes; the pairing (i, i + 4) first leaves the result
// in order.
inline __m256 SumEachOf(const __m256 (&s)[8]) {
  __m256 quarters[4];  // [4 lanes of s[i] | 4 lanes of s[i + 4]]
  for (int i = 0; i < 4; ++i) {
    quarters[i] = _mm256_add_ps(_mm256_permute2f128_ps(s[i], s[i + 4], 0x20),
                                _mm256_permute2f128_ps(s[i], s[i + 4], 0x31));
  }
  __m256 pairs[2];  // [2 lanes of s[2i], 2 of s[2i + 1] | the same of s[2i + 4], s[2i + 5]]
  for (int i = 0; i < 2; ++i) {
    const __m256d a = _mm256_castps_pd(quarters[2 * i]);
    const __m256d b = _mm256_castps_pd(quarters[2 * i + 1]);
    pairs[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                             _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
  }
  return _mm256_add_ps(_mm256_shuffle_ps(pairs[0], pairs[1], 0x88),
                       _mm256_shuffle_ps(pairs[0], pairs[1], 0xDD));
}

}  // namespace
}  // namespace lckv::cpu
