// Attention over bf16 K/V on the tensor cores (attention_mma.cuh), in two forms:
//
//   tiles    for the rows of segments: a block takes 64 rows of a product, (row, query head) pairs
//            of one kv head, so that K and V are read once for all of them; a warp takes 16.
//   decode   a block takes one row and kv head; its query heads are the product's rows. Every warp
//            makes all scores and its own columns of the sums: four times the products, which
//            nobody waits for, as the block waits for memory. Several blocks can share the chunks
//            of a row; then a third kernel joins what they leave in the workspace.

#include "engine/ops/cuda/attention_mma.cuh"
#include "engine/ops/cuda/attention_plan.h"
#include "engine/ops/cuda/launch.cuh"

namespace lckv::gpu {
namespace {

constexpr int32_t kBlockRows = kMmaWarps * kTileRows;

struct TilesArgs {
  AttentionParams params;
  int32_t rows;           // [0, rows) of the params'
  int32_t rows_per_tile;  // rows of the batch: kBlockRows / group
};
struct DecodeArgs {
  AttentionParams params;
  AttentionPlan plan;
  int32_t first_row;
  // [decode row][head][slot]: largest and total; sums [head_dim].
  float* stats;
  float* sums;
};
struct JoinArgs {
  DecodeArgs decode;
};

LCKV_DEVICE int32_t GroupOf(const AttentionParams& params) {
  return params.heads / params.shape.kv_heads;
}
LCKV_DEVICE KvRange RangeOf(const AttentionParams& params, int32_t row) {
  return VisibleRange(params.tables[params.table_of_row[row]], params.positions[row], params.window,
                      params.sinks, params.nodiag);
}
LCKV_DEVICE int64_t OffsetOf(const AttentionParams& params, int32_t row, int32_t head) {
  return (static_cast<int64_t>(row) * params.heads + head) * params.shape.head_dim;
}

// Two neighbouring values of the output, the first at an even place.
LCKV_DEVICE void StorePair(const AttentionParams& params, int64_t offset, float low, float high) {
  static_cast<uint32_t*>(params.out.data)[offset / 2] = device::PackBf16(low, high);
}

// A row of a block's product.
struct TileRow {
  int64_t offset;  // of its query and output; -1: padding, zeros that see what the last row sees
  int32_t row;     // of the batch, in the tile; -1: padding that has a warp for itself
  KvRange range;
};

// ends[i] = the first of the tile's `count` rows (at most 64) behind row i that has another table;
// for i < count.
LCKV_DEVICE void FindRuns(const AttentionParams& params, int32_t first_row, int32_t count,
                          device::SharedPointer<int32_t> ends) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t* const tables = params.table_of_row + first_row;
  uint64_t starts = 0;
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t i = half * kWarp + thread % kWarp;
    const bool start = i > 0 && i < count && tables[i] != tables[i - 1];
    starts |= uint64_t{device::Ballot(start)} << (half * kWarp);
  }
  if (thread >= count) return;
  int32_t end = thread + 1;
  while (end < count && (starts >> end & 1) == 0) ++end;
  ends[thread] = end;
}

LCKV_DEVICE int32_t WarpMaxInt(int32_t value) {
  for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    value = max(value, device::ShuffleXor(value, distance));
  }
  return value;
}

// Row `i` of the product of `count` rows of the batch from `first_row` on.
LCKV_DEVICE TileRow MakeRow(const AttentionParams& params, int32_t first_row, int32_t kv_head,
                            int32_t count, int32_t i) {
  const int32_t group = GroupOf(params);
  const int32_t used = count * group;
  const int32_t row = min(i, used - 1) / group;
  const int64_t offset = OffsetOf(params, first_row + row, kv_head * group + i % group);
  const bool idle = i / kTileRows * kTileRows >= used;
  return {i < used ? offset : -1, idle ? -1 : row, RangeOf(params, first_row + row)};
}

// The least range that holds what any of the tile's rows [begin, end) sees.
template <typename Rows>
LCKV_DEVICE KvRange RangeOfRun(const Rows& rows, int32_t begin, int32_t end) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  int32_t minus_first = -INT32_MAX;
  int32_t last = 0;
  int32_t sinks = 0;
  for (int32_t i = lane; i < kBlockRows; i += kWarp) {
    const TileRow row = rows[i];
    if (row.row < begin || row.row >= end) continue;
    sinks = max(sinks, row.range.sinks);
    if (row.range.begin >= row.range.end) continue;
    minus_first = max(minus_first, -row.range.begin);
    last = max(last, row.range.end);
  }
  last = WarpMaxInt(last);
  sinks = WarpMaxInt(sinks);
  // One row's sinks may lie in what another one sees.
  return {min(-WarpMaxInt(minus_first), last), last, sinks};
}

// The state of a lane's two rows over a whole head.
template <int32_t kDim>
struct TileState {
  RunningSoftmax running[2];
  float sums[kDim / 8][4];
};

// One chunk for the tile of a warp. head_dim: kDim.
template <int32_t kDim>
LCKV_DEVICE void AttendTile(int32_t head_dim, const KvRange (&ranges)[2], int32_t first,
                            device::SharedPointer<const uint16_t> chunk,
                            const uint32_t (&queries)[kDim / 16][4], TileState<kDim>& state) {
  const bool any = SeesAny(ranges[0], first) || SeesAny(ranges[1], first);
  if (!device::Any(any)) return;
  ChunkSoftmax softmax;
  {
    float scores[kKeyTiles][4];
    Scores<kDim>(queries, chunk, scores);
    if (!device::All(SeesAll(ranges[0], first) && SeesAll(ranges[1], first))) {
      Mask(ranges, first, scores);
    }
    Softmax(scores, softmax);
  }
  const Shares shares[2] = {Join(state.running[0], softmax.largest[0], softmax.total[0]),
                            Join(state.running[1], softmax.largest[1], softmax.total[1])};
  LCKV_UNROLL
  for (int32_t tile = 0; tile < kDim / 8; ++tile) {
    // Never so. But the compiler, which does not know, begins no more products at once than it has
    // registers for.
    if (tile % 4 == 0 && tile * 8 >= head_dim) break;
    float sums[4];
    Values<kDim>(softmax.weights, chunk + kPlane<kDim>, tile, sums);
    for (int32_t i = 0; i < 4; ++i) {
      state.sums[tile][i] = Joined(state.sums[tile][i], shares[i / 2], sums[i]);
    }
  }
}

// Block (tile of rows, last first: they see most; kv head).
template <int32_t kDim>
__global__ void __launch_bounds__(kMmaThreads) TilesKernel(TilesArgs args) {
  LCKV_DYNAMIC_SHARED(uint16_t, tiles);
  LCKV_SHARED(const uint8_t*, keys, 2 * kChunk);
  LCKV_SHARED(TileRow, rows, kBlockRows);
  LCKV_SHARED(int32_t, run_ends, kBlockRows);
  const AttentionParams& params = args.params;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const int32_t first_row = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x) * args.rows_per_tile;
  const int32_t count = min(args.rows_per_tile, args.rows - first_row);
  if (thread < kBlockRows) rows[thread] = MakeRow(params, first_row, kv_head, count, thread);
  FindRuns(params, first_row, count, run_ends);
  __syncthreads();

  // Of the lane's two rows the first.
  const int32_t upper = thread / kWarp * kTileRows + thread % kWarp / 4;
  uint32_t queries[kDim / 16][4];
  LoadQueries<kDim>(
      kBlockRows,
      [&](int32_t i) {
        const TileRow row = rows[i];
        return row.offset < 0 ? nullptr : params.q + row.offset;
      },
      thread / kWarp * kTileRows, params.scale, tiles + 0, queries);
  TileState<kDim> state = {};

  for (int32_t begin = 0; begin < count; begin = run_ends[begin]) {
    const int32_t end = run_ends[begin];
    KvRange ranges[2] = {};
    for (int32_t half = 0; half < 2; ++half) {
      const TileRow row = rows[upper + half * 8];
      if (row.row >= begin && row.row < end) ranges[half] = row.range;
    }
    const KvSource source = {&params.tables[params.table_of_row[first_row + begin]],
                             RangeOfRun(rows, begin, end), kv_head};
    const KvChunks chunks = ChunksOf(source.range, kChunk);
    ForEachChunk<kDim>(params.shape, source, chunks, 0, chunks.count, keys + 0, tiles + 0,
                       [&](int32_t n, device::SharedPointer<uint16_t> chunk) {
                         AttendTile<kDim>(params.shape.head_dim, ranges, chunks.At(n, kChunk),
                                          chunk, queries, state);
                       });
  }

  const int32_t column = thread % 4 * 2;
  for (int32_t half = 0; half < 2; ++half) {
    const TileRow row = rows[upper + half * 8];
    if (row.offset < 0) continue;
    const float inverse = Inverse(state.running[half].total);
    LCKV_UNROLL
    for (int32_t tile = 0; tile < kDim / 8; ++tile) {
      StorePair(params, row.offset + tile * 8 + column, Output(state.sums[tile][2 * half], inverse),
                Output(state.sums[tile][2 * half + 1], inverse));
    }
  }
}

// Whether the blocks of a row share its chunks, and how many each takes then.
LCKV_DEVICE bool IsSplit(const AttentionPlan& plan, const KvChunks& chunks) {
  return plan.splits > 1 && chunks.count > 1 && chunks.count <= plan.slots;
}
LCKV_DEVICE int64_t SlotOf(const DecodeArgs& args, int32_t row, int32_t head, int32_t chunk) {
  return (static_cast<int64_t>(row - args.first_row) * args.params.heads + head) * args.plan.slots +
         chunk;
}

// What a decode block is to do.
struct DecodeWork {
  KvSource source;
  KvChunks chunks;
  bool split;
  int32_t row;
  int32_t begin;  // chunks [begin, end)
  int32_t end;
  int32_t first_head;
  int32_t heads;  // at most kTileRows

  // The query head in row `i` of the product; -1: none.
  LCKV_DEVICE int32_t HeadAt(int32_t i) const { return i < heads ? first_head + i : -1; }
};
LCKV_DEVICE DecodeWork WorkOf(const DecodeArgs& args) {
  const AttentionParams& params = args.params;
  const int32_t group = GroupOf(params);
  const int32_t tiles = (group + kTileRows - 1) / kTileRows;
  const int32_t kv_head = static_cast<int32_t>(blockIdx.y) / tiles;
  const int32_t first = static_cast<int32_t>(blockIdx.y) % tiles * kTileRows;
  DecodeWork work;
  work.row = args.first_row + static_cast<int32_t>(blockIdx.x);
  work.first_head = kv_head * group + first;
  work.heads = min(group - first, kTileRows);
  work.source = {&params.tables[params.table_of_row[work.row]], RangeOf(params, work.row), kv_head};
  work.chunks = ChunksOf(work.source.range, kChunk);
  work.split = IsSplit(args.plan, work.chunks);
  const int32_t splits = work.split ? args.plan.splits : 1;
  const int32_t share = (work.chunks.count + splits - 1) / splits;
  work.begin = static_cast<int32_t>(blockIdx.z) * share;
  work.end = min(work.begin + share, work.chunks.count);
  return work;
}

// A warp's columns of the sums, every kMmaWarps-th tile of 8, for the rows of a lane.
template <int32_t kDim>
inline constexpr int32_t kOwnTiles = (kDim / 8 + kMmaWarps - 1) / kMmaWarps;
LCKV_DEVICE int32_t OwnTile(int32_t own) {
  return own * kMmaWarps + static_cast<int32_t>(threadIdx.x) / kWarp;
}
template <int32_t kDim>
struct DecodeState {
  RunningSoftmax running[2];
  float sums[kOwnTiles<kDim>][4];
};

// Leaves a chunk's part of rows 0 and 1 of the lane in the workspace.
template <int32_t kDim>
LCKV_DEVICE void Leave(const DecodeArgs& args, const DecodeWork& work, int32_t n,
                       const ChunkSoftmax& softmax, const float (&sums)[kOwnTiles<kDim>][4]) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t head = work.HeadAt(thread % kWarp / 4 + half * 8);
    if (head < 0) continue;
    const int64_t slot = SlotOf(args, work.row, head, n);
    if (thread < kWarp && thread % 4 == 0) {
      args.stats[2 * slot] = softmax.largest[half];
      args.stats[2 * slot + 1] = softmax.total[half];
    }
    float* const to = args.sums + slot * kDim + thread % 4 * 2;
    LCKV_UNROLL
    for (int32_t own = 0; own < kOwnTiles<kDim>; ++own) {
      if (OwnTile(own) >= kDim / 8) break;
      to[OwnTile(own) * 8] = sums[own][2 * half];
      to[OwnTile(own) * 8 + 1] = sums[own][2 * half + 1];
    }
  }
}

// Chunk number n for a decode block.
template <int32_t kDim>
LCKV_DEVICE void AttendDecode(const DecodeArgs& args, const DecodeWork& work, int32_t n,
                              device::SharedPointer<const uint16_t> chunk,
                              const uint32_t (&queries)[kDim / 16][4], DecodeState<kDim>& state) {
  const int32_t first = work.chunks.At(n, kChunk);
  ChunkSoftmax softmax;
  {
    float scores[kKeyTiles][4];
    Scores<kDim>(queries, chunk, scores);
    const KvRange ranges[2] = {work.source.range, work.source.range};
    if (!SeesAll(work.source.range, first)) Mask(ranges, first, scores);
    Softmax(scores, softmax);
  }
  float sums[kOwnTiles<kDim>][4] = {};
  LCKV_UNROLL
  for (int32_t own = 0; own < kOwnTiles<kDim>; ++own) {
    if (OwnTile(own) >= kDim / 8) break;
    Values<kDim>(softmax.weights, chunk + kPlane<kDim>, OwnTile(own), sums[own]);
  }
  if (work.split) return Leave<kDim>(args, work, n, softmax, sums);
  const Shares shares[2] = {Join(state.running[0], softmax.largest[0], softmax.total[0]),
                            Join(state.running[1], softmax.largest[1], softmax.total[1])};
  LCKV_UNROLL
  for (int32_t own = 0; own < kOwnTiles<kDim>; ++own) {
    for (int32_t i = 0; i < 4; ++i) {
      state.sums[own][i] = Joined(state.sums[own][i], shares[i / 2], sums[own][i]);
    }
  }
}

// Block (row, tile of the query heads of a kv head, split).
template <int32_t kDim>
__global__ void __launch_bounds__(kMmaThreads, 3) DecodeKernel(DecodeArgs args) {
  LCKV_DYNAMIC_SHARED(uint16_t, tiles);
  LCKV_SHARED(const uint8_t*, keys, 2 * kChunk);
  const AttentionParams& params = args.params;
  const DecodeWork work = WorkOf(args);
  // Too many blocks for the row; block 0 writes also where nothing is visible.
  if (blockIdx.z > 0 && work.begin >= work.end) return;

  uint32_t queries[kDim / 16][4];
  LoadQueries<kDim>(
      kTileRows,
      [&](int32_t i) {
        return work.HeadAt(i) < 0 ? nullptr : params.q + OffsetOf(params, work.row, work.HeadAt(i));
      },
      0, params.scale, tiles + 0, queries);
  DecodeState<kDim> state = {};
  ForEachChunk<kDim>(params.shape, work.source, work.chunks, work.begin, work.end, keys + 0,
                     tiles + 0, [&](int32_t n, device::SharedPointer<uint16_t> chunk) {
                       AttendDecode<kDim>(args, work, n, chunk, queries, state);
                     });
  if (work.split) return;

  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t head = work.HeadAt(thread % kWarp / 4 + half * 8);
    if (head < 0) continue;
    const int64_t offset = OffsetOf(params, work.row, head) + thread % 4 * 2;
    const float inverse = Inverse(state.running[half].total);
    LCKV_UNROLL
    for (int32_t own = 0; own < kOwnTiles<kDim>; ++own) {
      if (OwnTile(own) >= kDim / 8) break;
      StorePair(params, offset + OwnTile(own) * 8, Output(state.sums[own][2 * half], inverse),
                Output(state.sums[own][2 * half + 1], inverse));
    }
  }
}

// Block (decode row, head): the chunks of a split row in ascending order, a thread for two columns.
constexpr int32_t kJoinThreads = 64;
__global__ void __launch_bounds__(kJoinThreads) JoinKernel(JoinArgs args) {
  constexpr int32_t kAhead = 8;  // chunks that are read at once
  const DecodeArgs& decode = args.decode;
  const AttentionParams& params = decode.params;
  const int32_t row = decode.first_row + static_cast<int32_t>(blockIdx.x);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t column = 2 * static_cast<int32_t>(threadIdx.x);
  const KvChunks chunks = ChunksOf(RangeOf(params, row), kChunk);
  if (column >= params.shape.head_dim || !IsSplit(decode.plan, chunks)) return;

  const float* stats = decode.stats + 2 * SlotOf(decode, row, head, 0);
  const float* from = decode.sums + SlotOf(decode, row, head, 0) * params.shape.head_dim + column;
  RunningSoftmax running;
  float low = 0;
  float high = 0;
  for (int32_t first = 0; first < chunks.count; first += kAhead) {
    float values[kAhead][4];
    LCKV_UNROLL
    for (int32_t i = 0; i < kAhead; ++i) {
      if (first + i >= chunks.count) break;
      const int64_t slot = first + i;
      values[i][0] = stats[2 * slot];
      values[i][1] = stats[2 * slot + 1];
      values[i][2] = from[slot * params.shape.head_dim];
      values[i][3] = from[slot * params.shape.head_dim + 1];
    }
    LCKV_UNROLL
    for (int32_t i = 0; i < kAhead; ++i) {
      if (first + i >= chunks.count) break;
      const Shares shares = Join(running, values[i][0], values[i][1]);
      low = Joined(low, shares, values[i][2]);
      high = Joined(high, shares, values[i][3]);
    }
  }
  const float inverse = Inverse(running.total);
  StorePair(params, OffsetOf(params, row, head) + column, Output(low, inverse),
            Output(high, inverse));
}

template <int32_t kDim>
int LaunchTiles(const TilesArgs& args, Stream stream) {
  const Dim3 grid = {
      static_cast<unsigned>((args.rows + args.rows_per_tile - 1) / args.rows_per_tile),
      static_cast<unsigned>(args.params.shape.kv_heads)};
  return Launch(TilesKernel<kDim>, grid, {kMmaThreads}, kMmaSharedBytes<kDim>, stream, args);
}

int32_t TilesOfGroup(const AttentionParams& params) {
  return (params.heads / params.shape.kv_heads + kTileRows - 1) / kTileRows;
}

template <int32_t kDim>
int LaunchDecode(const DecodeArgs& args, Stream stream) {
  const auto rows = static_cast<unsigned>(args.plan.decode_rows);
  const AttentionParams& params = args.params;
  const Dim3 grid = {rows, static_cast<unsigned>(params.shape.kv_heads * TilesOfGroup(params)),
                     static_cast<unsigned>(args.plan.splits)};
  const int error =
      Launch(DecodeKernel<kDim>, grid, {kMmaThreads}, kMmaSharedBytes<kDim>, stream, args);
  if (error != 0 || args.plan.splits == 1) return error;
  return Launch(JoinKernel, {rows, static_cast<unsigned>(params.heads)}, {kJoinThreads}, 0, stream,
                JoinArgs{args});
}

template <int32_t kDim>
int LaunchForms(const AttentionParams& params, const AttentionPlan& plan,
                const Workspace& workspace, Stream stream) {
  const int32_t tile_rows = params.rows - plan.decode_rows;
  if (tile_rows > 0) {
    const int32_t rows_per_tile = kBlockRows / (params.heads / params.shape.kv_heads);
    const int error = LaunchTiles<kDim>({params, tile_rows, rows_per_tile}, stream);
    if (error != 0) return error;
  }
  if (plan.decode_rows == 0) return 0;
  auto* const stats = static_cast<float*>(workspace.data);
  float* const sums = stats + int64_t{2} * plan.decode_rows * params.heads * plan.slots;
  return LaunchDecode<kDim>({params, plan, tile_rows, stats, sums}, stream);
}

}  // namespace

bool CanAttendWithMma(const AttentionParams& args) {
  const KvShape& shape = args.shape;
  if (args.dtype != DType::kBf16 || args.out.dtype != DType::kBf16) return false;
  if (shape.head_stride_bytes % 16 != 0 || shape.value_offset_bytes % 16 != 0) return false;
  for (int32_t dim : {16, 32, 64, 80, 96, 128}) {
    if (shape.head_dim == dim) return true;
  }
  return false;
}

AttentionPlan PlanAttention(const AttentionParams& args, const Workspace& workspace) {
  AttentionPlan plan;
  const int32_t group = args.heads / args.shape.kv_heads;
  plan.decode_rows = group > kBlockRows ? args.rows : max(0, min(args.decode_rows, args.rows));
  if (plan.decode_rows == 0) return plan;
  // As many chunks as a row can see; a window may touch one more at either end.
  int32_t chunks = args.max_position / kChunk + 1;
  if (args.window > 0) {
    chunks = min(chunks, args.window / kChunk + 2 + (args.sinks + kChunk - 1) / kChunk);
  }
  const int64_t blocks = int64_t{plan.decode_rows} * args.shape.kv_heads * TilesOfGroup(args);
  const int64_t slot_bytes =
      int64_t{plan.decode_rows} * args.heads * (args.shape.head_dim + 2) * int64_t{sizeof(float)};
  const int64_t slots = min(int64_t{chunks}, static_cast<int64_t>(workspace.bytes) / slot_bytes);
  const int64_t splits = min(slots, (2 * int64_t{workspace.multiprocessors} + blocks - 1) / blocks);
  if (splits < 2) return plan;
  plan.splits = static_cast<int32_t>(splits);
  plan.slots = static_cast<int32_t>(slots);
  return plan;
}

int LaunchAttentionMma(const AttentionParams& args, const AttentionPlan& plan,
                       const Workspace& workspace, Stream stream) {
  switch (args.shape.head_dim) {
    case 16:
      return LaunchForms<16>(args, plan, workspace, stream);
    case 32:
      return LaunchForms<32>(args, plan, workspace, stream);
    case 64:
      return LaunchForms<64>(args, plan, workspace, stream);
    case 80:
      return LaunchForms<80>(args, plan, workspace, stream);
    case 96:
      return LaunchForms<96>(args, plan, workspace, stream);
    default:
      return LaunchForms<128>(args, plan, workspace, stream);
  }
}

}  // namespace lckv::gpu
