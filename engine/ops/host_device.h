#pragma once

// Marks a function that host and CUDA device code share.
#if defined(__CUDACC__)
#define LCKV_HOST_DEVICE __host__ __device__
#else
#define LCKV_HOST_DEVICE
#endif
