#pragma once

// Asynchronous copies into shared memory and the tensor cores' bf16 product, for compute capability
// 8.0 and later. In the simulation device.cuh brings the same functions (tests/simt); there a copy
// lands at the wait, and touching its target before that is an error.
//
// Instructions and fragment layouts: PTX ISA, "cp.async", "ldmatrix", "mma" (m16n8k16), "cvt".

#include "engine/ops/cuda/device.cuh"

#if defined(__CUDACC__)

namespace lckv::gpu::device {

LCKV_DEVICE inline uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Begins to copy 16 bytes of global memory to shared memory (`array + index`), both aligned to 16;
// zeros instead if not `valid` (`from` is not read then, but must still be a global address).
LCKV_DEVICE inline void CopyAsync16(void* to, const void* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(SharedAddress(to)),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
}
// Makes one group, maybe empty, of this thread's copies since the last commit.
LCKV_DEVICE inline void CopyAsyncCommit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most the newest kGroups groups of this thread are under way. The thread's own
// copies are visible to it then; to others after a barrier.
template <int kGroups>
LCKV_DEVICE inline void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kGroups) : "memory");
}

// Loads four 8x8 matrices of 16-bit values; all lanes call. Lane 8m + r passes the first of the 8
// values, aligned to 16 bytes, of row r of matrix m. Lane l gets of matrix m in out[m] the values
// (l / 4, 2 (l % 4)) in the low and (l / 4, 2 (l % 4) + 1) in the high half; transposed:
// (2 (l % 4), l / 4) and (2 (l % 4) + 1, l / 4).
LCKV_DEVICE inline void LoadMatrices(uint32_t (&out)[4], SharedPointer<const uint16_t> row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(SharedAddress(row))
               : "memory");
}
LCKV_DEVICE inline void LoadMatricesTransposed(uint32_t (&out)[4],
                                               SharedPointer<const uint16_t> row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(SharedAddress(row))
               : "memory");
}

// Two numbers as bf16, rounded to nearest even, in the halves of a word. Bits as F32ToBf16, but for
// which NaN it is.
LCKV_DEVICE inline uint32_t PackBf16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
// The two f16 of a pair.
LCKV_DEVICE inline void UnpackF16(uint32_t pair, float& low, float& high) {
  asm("{\n.reg .b16 half<2>;\n"
      "mov.b32 {half0, half1}, %2;\n"
      "cvt.f32.f16 %0, half0;\n"
      "cvt.f32.f16 %1, half1;\n}\n"
      : "=f"(low), "=f"(high)
      : "r"(pair));
}

// sums [16][8] += a [16][16] * b [16][8], bf16 into float32; all lanes call. With g = lane / 4 and
// t = 2 (lane % 4), a lane holds (row, column), low half first:
//   a[0]: (g, t) (g, t+1)      a[1]: (g+8, t) (g+8, t+1)
//   a[2]: (g, t+8) (g, t+9)    a[3]: (g+8, t+8) (g+8, t+9)
//   b[0]: (t, g) (t+1, g)      b[1]: (t+8, g) (t+9, g)
//   sums: (g, t) (g, t+1) (g+8, t) (g+8, t+1)
// So LoadMatrices of a's quarters upper left, lower left, upper right, lower right gives a, and
// LoadMatrices of two 8x8 blocks of b stored as [8 n][16 k] gives b[0], b[1] (Transposed: stored as
// [16 k][8 n]). The device does not say how it rounds within the sum: last bits may differ from the
// simulation, which sums in double precision and rounds once.
LCKV_DEVICE inline void MultiplyBf16(float (&sums)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace lckv::gpu::device

#endif
