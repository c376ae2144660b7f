#pragma once

// The kernels of attention_mma.cu, and how work is cut for them. Whatever the plan, a row gets the
// same bits; tests compare them.

#include "engine/ops/cuda/kernels.h"

namespace lckv::gpu {

struct AttentionPlan {
  // The last rows are given to blocks one by one, all query heads of a kv head together; the rows
  // before them in tiles that read K and V once.
  int32_t decode_rows = 0;
  // So many blocks share the chunks of a decode row and kv head if they are no more than `slots`,
  // and leave them in the workspace to be joined: decode_rows * heads * slots * (head_dim + 2) * 4
  // bytes.
  int32_t splits = 1;
  int32_t slots = 0;
};

// Whether the tensor cores can: bf16 in and out, head_dim 16, 32, 64, 80, 96 or 128, and K and V in
// places that are aligned to 16 bytes.
bool CanAttendWithMma(const AttentionParams& args);

// The fastest plan for such a shape, it is thought. Of the params' values only rows, decode_rows,
// heads, shape, window, sinks and max_position count, so a plan stays valid when the arrays change.
AttentionPlan PlanAttention(const AttentionParams& args, const Workspace& workspace);

// REQUIRES: CanAttendWithMma(args); query heads of a kv head <= 64 or plan.decode_rows ==
// args.rows.
int LaunchAttentionMma(const AttentionParams& args, const AttentionPlan& plan,
                       const Workspace& workspace, Stream stream);

}  // namespace lckv::gpu
