#include "engine/plan/plan.h"

#include <string>

#include "engine/plan/paper_table.h"
#include "engine/transformer/model.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

ModelConfig Paper(const std::string& model, int warmup) { return *PaperModel(model, warmup); }
DeviceSpec Device(const char* name) { return *FindDevice(name); }

PlanRequest Session(int64_t prompt, int64_t generated) {
  PlanRequest request;
  request.prompt_tokens = prompt;
  request.generated_tokens = generated;
  return request;
}

// 7B has the 6,738,415,616 parameters of Llama 7B, 266,240 of them in norms; 29 layers of w=2 lack
// 2 * 4096^2.
TEST(PlanTest, MemoryOf7BOnAnA100) {
  ASSERT_OK_AND_ASSIGN(const Plan full,
                       MakePlan(Paper("7B", 0), Device("a100"), Session(2048, 2048)));
  EXPECT_EQ(full.weight_bytes, 2 * 6'738'149'376 + 4 * 266'240 + 4096 * 128 * 4);
  EXPECT_EQ(full.kv_bytes_per_token, 524'288);
  EXPECT_EQ(full.session_bytes, int64_t{1} << 31);
  EXPECT_EQ(full.device_layers, 32);
  EXPECT_EQ(full.memory.host_weight_bytes, 0);
  EXPECT_EQ(full.memory.stream_buffer_bytes, 0);
  EXPECT_EQ(full.memory.encode_slot_bytes, 0);
  // 84,932,978,278 - 2^30 - weights - 2,048 rows of 208,512 bytes = 69,952,743,014; a session takes
  // 2^31, a row of activations and one of 32,000 logits.
  EXPECT_EQ(full.largest_batch, 32);
  EXPECT_EQ(full.memory.activation_bytes, 2080 * 208'512);
  EXPECT_EQ(full.memory.logits_bytes, 32 * 128'000);
  EXPECT_LE(full.memory.device_bytes(), Device("a100").memory_bytes);
  EXPECT_EQ(full.hot_sessions, 32);

  ASSERT_OK_AND_ASSIGN(const Plan w2,
                       MakePlan(Paper("7B", 2), Device("a100"), Session(2048, 2048)));
  EXPECT_EQ(full.weight_bytes - w2.weight_bytes, 29 * 2 * 4096 * 4096 * 2);
  EXPECT_EQ(w2.session_bytes, 4096 * 49'152);
  // Four slots: 4,096 float32 rows and twice 65 pages of one producer.
  EXPECT_EQ(w2.memory.encode_slot_bytes, 4 * (4096 * 4096 * 4 + 2 * 65 * 64 * 16'384));
  EXPECT_EQ(w2.largest_batch, 352);  // 71,063,184,998 / 201,673,856
  // With 64 of them running there is room for 288 rows of activations and logits less: 100,012,032
  // bytes, and 0.37 of a session was left.
  EXPECT_EQ(w2.hot_sessions, 352);
}

// 32,000 ids of 2 * 4,096 float32: 9% of the weights of w=2. With 4 KV heads instead of
// 32: 1.2%.
TEST(PlanTest, ATableOfLayer0IsAWeight) {
  constexpr int64_t kBytes = int64_t{32'000} * 2 * 4096 * 4;
  PlanRequest request = Session(2048, 2048);
  const auto weights = [&](const ModelConfig& config, Layer0Table table) {
    request.layer0_table = table;
    const auto plan = MakePlan(config, Device("a100"), request);
    EXPECT_OK(plan);
    EXPECT_EQ(plan->memory.weight_bytes, plan->weight_bytes);
    return plan->weight_bytes;
  };
  ModelConfig config = Paper("7B", 2);
  const int64_t without = weights(config, Layer0Table::kOff);
  EXPECT_EQ(weights(config, Layer0Table::kAuto), without);
  EXPECT_EQ(weights(config, Layer0Table::kOn), without + kBytes);
  config.num_kv_heads = 4;
  EXPECT_EQ(weights(config, Layer0Table::kAuto), weights(config, Layer0Table::kOff) + kBytes / 8);
}

TEST(PlanTest, PagesAreTheEngines) {
  for (const int tokens_per_page : {16, 64, 128}) {
    for (const DType dtype : {DType::kBf16, DType::kF32}) {
      for (const int warmup : kPaperWarmupLayers) {
        const ModelConfig config = Paper("1.1B", warmup);
        PlanRequest request = Session(100, 51);
        request.kv_dtype = dtype;
        request.tokens_per_page = tokens_per_page;
        ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(config, Device("h100"), request));
        ASSERT_OK_AND_ASSIGN(const PageLayout layout,
                             MakePageLayout(config, dtype, tokens_per_page));
        EXPECT_EQ(plan.kv_bytes_per_token, layout.bytes_per_token());
        EXPECT_EQ(plan.page_bytes, layout.page_bytes());
        EXPECT_EQ(plan.session_bytes, layout.PagesFor(151) * layout.page_bytes());
      }
    }
  }
}

TEST(PlanTest, BytesPerTokenOfThePaper) {
  constexpr struct {
    const char* model;
    int64_t bytes[3];  // full, w=2, w=10
  } kExpected[] = {{"1.1B", {22'528, 3'072, 11'264}},
                   {"7B", {524'288, 49'152, 180'224}},
                   {"30B", {1'597'440, 79'872, 292'864}}};
  for (const auto& [model, bytes] : kExpected) {
    for (size_t i = 0; i < kPaperWarmupLayers.size(); ++i) {
      ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(Paper(model, kPaperWarmupLayers[i]),
                                                     Device("h200"), Session(5, 5)));
      EXPECT_EQ(plan.kv_bytes_per_token, bytes[i]) << model << " " << kPaperWarmupLayers[i];
    }
  }
}

// Batch 1 at position 0 reads 6,607,077,376 parameters (no embedding), norms, and one token's KV.
TEST(PlanTest, DecodeReadsTheWeights) {
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(Paper("7B", 0), Device("h100"), Session(1, 0)));
  EXPECT_EQ(plan.decode_position, 0);
  const double bytes = 2.0 * 6'607'077'376 + 4 * 64 * 4096 + 2 * 524'288;
  EXPECT_DOUBLE_EQ(plan.decode_one.seconds, bytes / 3.35e12);
  EXPECT_DOUBLE_EQ(plan.decode_one.tokens_per_second, 3.35e12 / bytes);
  EXPECT_EQ(plan.decode_one.bound, Bound::kMemory);
  EXPECT_EQ(plan.total.seconds, 0);
}

// A long input is bound by compute. n [(L - G) + K G] (2 theta + 2 n d), theta parameters a layer
// and G layers in the group, gives 57 and 417 TFLOP for 4,096 tokens: a little more, since it does
// not know what drops out.
TEST(PlanTest, EncodeCountsThePasses) {
  ASSERT_OK_AND_ASSIGN(const Plan full, MakePlan(Paper("7B", 0), Device("h100"), Session(4096, 0)));
  EXPECT_EQ(full.passes, 1);
  EXPECT_EQ(full.encode.bound, Bound::kCompute);
  EXPECT_NEAR(full.encode.seconds, 57e12 / 989.4e12, 0.002);
  ASSERT_OK_AND_ASSIGN(const Plan w2, MakePlan(Paper("7B", 2), Device("h100"), Session(4096, 0)));
  EXPECT_EQ(w2.passes, 9);
  EXPECT_NEAR(w2.encode.seconds, 417e12 / 989.4e12, 0.02);
  PlanRequest request = Session(4096, 0);
  request.passes = 4;
  ASSERT_OK_AND_ASSIGN(const Plan fewer, MakePlan(Paper("7B", 2), Device("h100"), request));
  EXPECT_EQ(fewer.passes, 4);
  EXPECT_NEAR(fewer.encode.seconds / w2.encode.seconds, 4.0 / 9, 0.02);
}

TEST(PlanTest, ASharedKvReadCanOnlyBeFaster) {
  ASSERT_OK_AND_ASSIGN(const Plan full,
                       MakePlan(Paper("7B", 0), Device("h100"), Session(512, 1024)));
  EXPECT_EQ(full.decode_batch.seconds, full.decode_batch_shared.seconds);
  ASSERT_OK_AND_ASSIGN(const Plan w2, MakePlan(Paper("7B", 2), Device("h100"), Session(512, 1024)));
  EXPECT_LT(w2.decode_batch_shared.seconds, w2.decode_batch.seconds / 5);
  EXPECT_DOUBLE_EQ(w2.total.tokens_per_second,
                   static_cast<double>(w2.largest_batch * 1024) / w2.total.seconds);
  EXPECT_GT(w2.total_shared.tokens_per_second, w2.total.tokens_per_second);
}

TEST(PlanTest, LayersStayInHostMemory) {
  PlanRequest request = Session(512, 1024);
  request.device_layers = 10;
  const ModelConfig config = Paper("30B", 0);
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(config, Device("rtx3090"), request));
  const int64_t layer_bytes = 2 * (446'431'232 + 88'604'672) + 2 * 6656 * 4;
  EXPECT_EQ(plan.memory.host_weight_bytes, 50 * layer_bytes);
  EXPECT_EQ(plan.memory.stream_buffer_bytes, 2 * layer_bytes);
  EXPECT_EQ(plan.memory.weight_bytes + plan.memory.host_weight_bytes, plan.weight_bytes);
  EXPECT_EQ(plan.decode_batch.bound, Bound::kHostLink);
  EXPECT_DOUBLE_EQ(plan.decode_batch.seconds, 50.0 * static_cast<double>(layer_bytes) / 31.5e9);

  request.device_layers = PlanRequest::kAutoLayers;
  ASSERT_OK_AND_ASSIGN(const Plan chosen, MakePlan(config, Device("rtx3090"), request));
  EXPECT_LT(chosen.device_layers, 60);
  for (int layers = 0; layers <= 60; ++layers) {
    request.device_layers = layers;
    const absl::StatusOr<Plan> other = MakePlan(config, Device("rtx3090"), request);
    if (!other.ok()) continue;
    EXPECT_LE(other->decode_batch.tokens_per_second, chosen.decode_batch.tokens_per_second)
        << layers;
  }
}

TEST(PlanTest, CrossoverOfRestoreAndEncode) {
  const ModelConfig config = Paper("7B", 2);
  PlanRequest request = Session(1000, 0);
  request.link_bytes_per_second = 3.125e9;
  ASSERT_OK_AND_ASSIGN(const Plan fast, MakePlan(config, Device("h100"), request));
  EXPECT_EQ(fast.restore.bytes_per_1k_tokens, 16 * 64 * 49'152);
  EXPECT_DOUBLE_EQ(fast.restore.seconds_per_1k_tokens, 16.0 * 64 * 49'152 / 3.125e9);
  EXPECT_DOUBLE_EQ(fast.restore.encode_seconds_per_1k_tokens, fast.encode.seconds);
  EXPECT_EQ(fast.restore.crossover_tokens, 1);

  // At 1 MB/s a page takes three seconds, and encoding one token takes milliseconds.
  request.link_bytes_per_second = 1e6;
  ASSERT_OK_AND_ASSIGN(const Plan slow, MakePlan(config, Device("h100"), request));
  EXPECT_EQ(slow.restore.crossover_tokens, std::nullopt);

  // The full map of 8,192 positions: attention grows with the context, so that there is a length
  // from which on a link of the right speed wins; one token less, and encoding does.
  const ModelConfig full = WithFullMap(config);
  for (double rate = 20e9; rate < 50e9; rate += 1e9) {
    request.link_bytes_per_second = rate;
    ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(full, Device("h100"), request));
    const std::optional<int64_t> tokens = plan.restore.crossover_tokens;
    if (!tokens.has_value() || *tokens == 1 || *tokens > 8000) continue;
    const auto margin = [&](int64_t n) {
      PlanRequest other = request;
      other.prompt_tokens = n;
      const double encode = MakePlan(full, Device("h100"), other)->encode.seconds;
      return encode - static_cast<double>((n + 63) / 64 * 64 * 524'288) / rate;
    };
    EXPECT_GE(margin(*tokens), 0) << rate;
    EXPECT_LT(margin(*tokens - 1), 0) << rate;
    EXPECT_GE(margin(8192), 0) << rate;
    return;
  }
  FAIL() << "no link gave a crossover inside the context";
}

TEST(PlanTest, TheHostLinkBoundsARestore) {
  PlanRequest request = Session(1000, 0);
  request.link_bytes_per_second = 1e12;
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(Paper("7B", 2), Device("a100"), request));
  EXPECT_DOUBLE_EQ(plan.restore.seconds_per_1k_tokens, 16.0 * 64 * 49'152 / 31.5e9);
}

TEST(PlanTest, TooLittleMemorySaysWhatIsNeeded) {
  PlanRequest request = Session(2048, 2048);
  request.device_layers = 32;
  DeviceSpec device = Device("rtx3090");
  device.memory_bytes = int64_t{8} << 30;
  EXPECT_THAT(MakePlan(Paper("7B", 0), device, request),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("weights 12.6 GiB")));
  device.memory_bytes = int64_t{1} << 30;
  request.device_layers = PlanRequest::kAutoLayers;
  EXPECT_THAT(MakePlan(Paper("7B", 0), device, request),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("reserved 1 GiB")));
}

TEST(PlanTest, RefusesWrongValues) {
  const struct {
    const char* message;
    void (*change)(PlanRequest& request, DeviceSpec& device);
  } kCases[] = {
      {"context", [](PlanRequest& r, DeviceSpec&) { r.prompt_tokens = 0; }},
      {"context", [](PlanRequest& r, DeviceSpec&) { r.generated_tokens = -1; }},
      {"8192 positions", [](PlanRequest& r, DeviceSpec&) { r.generated_tokens = 8192; }},
      {"passes", [](PlanRequest& r, DeviceSpec&) { r.passes = 65; }},
      {"device layers", [](PlanRequest& r, DeviceSpec&) { r.device_layers = 23; }},
      {"step tokens", [](PlanRequest& r, DeviceSpec&) { r.step_tokens = 0; }},
      {"reserved memory", [](PlanRequest& r, DeviceSpec&) { r.reserved_bytes = -1; }},
      {"link bandwidth", [](PlanRequest& r, DeviceSpec&) { r.link_bytes_per_second = 0; }},
      {"tokens_per_page", [](PlanRequest& r, DeviceSpec&) { r.tokens_per_page = 17; }},
      {"KV format", [](PlanRequest& r, DeviceSpec&) { r.kv_dtype = DType::kQ8_0; }},
      {"fp8", [](PlanRequest& r, DeviceSpec&) { r.weights = WeightFormat::kFp8; }},
      {"memory bandwidth", [](PlanRequest&, DeviceSpec& d) { d.memory_bytes_per_second = 0; }},
      {"bf16", [](PlanRequest&, DeviceSpec& d) { d.bf16_flops = -1; }},
  };
  for (const auto& [message, change] : kCases) {
    PlanRequest request = Session(10, 10);
    DeviceSpec device = Device("a100");
    change(request, device);
    EXPECT_THAT(MakePlan(Paper("1.1B", 2), device, request),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

TEST(DeviceSpecTest, KnownDevicesAreComplete) {
  for (const DeviceSpec& device : KnownDevices()) {
    PlanRequest request = Session(10, 10);
    EXPECT_OK(MakePlan(Paper("1.1B", 2), device, request)) << device.name;
    EXPECT_TRUE(FindDevice(device.name).ok());
  }
  EXPECT_THAT(FindDevice("h99"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("h100")));
}

}  // namespace
}  // namespace lckv
