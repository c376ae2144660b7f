// What one engine is measured for.

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/bench/held_sessions.h"
#include "engine/bench/workload.h"
#include "engine/plan/plan.h"
#include "tests/bench/bench_run.h"

namespace lckv::bench {
namespace {

constexpr double kImportBytesPerSecond = 3e9;  // until one was timed
constexpr double kLoadBytesPerSecond = 2e9;
constexpr int kRepeats = 3;
constexpr double kShortSeconds = 1;  // what takes less is repeated

// A row with its largest batch, and the points at which its decoding is timed.
struct RowPlan {
  BatchRow row;
  int batch = 0;
  bool limited = false;            // by max_batch, not by memory
  std::vector<int32_t> positions;  // of the generation, ascending
  int32_t early_position = 0;      // in the prompt; 0: encoding token by token is not estimated

  int32_t context() const { return row.prompt + row.generated; }
};

// Seconds of all steps at positions [first, last), from the timed ones: linear between them and
// beyond.
double SumSteps(const std::map<int32_t, double>& seconds_at, int32_t first, int32_t last) {
  double sum = 0;
  for (int32_t position = first; position < last; ++position) {
    auto right = seconds_at.lower_bound(position);
    if (right == seconds_at.end()) --right;
    if (right == seconds_at.begin() && seconds_at.size() > 1) ++right;
    if (seconds_at.size() == 1) {
      sum += right->second;
      continue;
    }
    const auto left = std::prev(right);
    const double slope = (right->second - left->second) / (right->first - left->first);
    sum += std::max(0.0, left->second + slope * (position - left->first));
  }
  return sum;
}

class GroupBench {
 public:
  GroupBench(BenchRun& run, const Group& group)
      : run_(run), group_(group), sizes_(SizesOf(run.options.tiny)) {}

  // An error: nothing more can be measured.
  absl::Status Run() {
    LCKV_ASSIGN_OR_RETURN(config_, BenchModel(group_.model, group_.warmup));
    LCKV_ASSIGN_OR_RETURN(const bool fits, PlanRows());
    if (!fits) return absl::OkStatus();
    LCKV_RETURN_IF_ERROR(Load());
    Try("decode", [this] { return DecodeOne(); });
    Try("encode", [this] { return EncodeCases(); });
    Try("pages", [this] { return Pages(); });
    MeasurePoints();
    for (const RowPlan& row : rows_) Try(RowName(row), [&] { return ReportRow(row); });
    return absl::OkStatus();
  }

 private:
  static std::string RowName(const RowPlan& row) {
    return absl::StrCat("batch ", row.row.prompt, "+", row.row.generated);
  }

  template <typename Body>
  void Try(const std::string& what, const Body& body) {
    if (run_.budget.GroupLeft() <= 0) {
      run_.Skip(group_, what, "the group's share of the time was spent");
      return;
    }
    if (const absl::Status status = body(); !status.ok()) run_.Fail(group_, what, status);
  }

  Json Case(const char* name) const {
    return {{"case", name}, {"model", group_.model}, {"map", MapName(group_.warmup)}};
  }

  // Whether something fits the group's time; notes that it is skipped if not.
  bool Fits(const std::string& what, double seconds) {
    const double left = run_.budget.GroupLeft();
    if (seconds <= left) return true;
    run_.Skip(group_, what,
              absl::StrFormat("would take about %.1f s, %.1f s are left for it", seconds,
                              std::max(0.0, left)));
    return false;
  }

  int64_t MemoryBytes() const {
    return run_.options.memory_bytes > 0 ? run_.options.memory_bytes : run_.rates.free_bytes;
  }

  absl::StatusOr<Plan> PlanOf(const BatchRow& row) const {
    DeviceSpec device = run_.measured;
    device.memory_bytes = MemoryBytes();
    PlanRequest request;
    request.weights = run_.format;
    LCKV_ASSIGN_OR_RETURN(request.kv_dtype, ParseDType(run_.options.kv));
    request.prompt_tokens = row.prompt;
    request.generated_tokens = row.generated;
    request.device_layers = config_.num_layers;
    request.reserved_bytes = run_.options.reserved_bytes;
    request.step_tokens = run_.options.step_tokens;
    request.encode_slots = engine_options_.encode_slots;
    return MakePlan(config_, device, request);
  }

  // Batches of all rows, and the memory of one engine that can hold each of them. False: no row
  // fits.
  absl::StatusOr<bool> PlanRows() {
    int64_t without_kv = 0, smallest_slots = INT64_MAX, largest_slots = 0, wanted = 0;
    for (const BatchRow& row : group_.rows) {
      RowPlan planned;
      planned.row = row;
      const absl::StatusOr<Plan> plan = PlanOf(row);
      if (absl::IsResourceExhausted(plan.status())) {
        run_.Skip(group_, RowName(planned), std::string(plan.status().message()));
        continue;
      }
      LCKV_RETURN_IF_ERROR(plan.status());
      planned.batch =
          static_cast<int>(std::min<int64_t>(plan->largest_batch, run_.options.max_batch));
      planned.limited = planned.batch < plan->largest_batch;
      ChoosePositions(planned);
      rows_.push_back(planned);
      const MemoryPlan& memory = plan->memory;
      without_kv = std::max(without_kv, memory.device_bytes() - memory.kv_bytes);
      smallest_slots = std::min(smallest_slots, memory.encode_slot_bytes);
      largest_slots = std::max(largest_slots, memory.encode_slot_bytes);
      wanted = std::max(wanted, planned.batch * plan->session_bytes);
      weight_bytes_ = plan->weight_bytes;
      page_bytes_ = plan->page_bytes;
    }
    if (rows_.empty()) return false;
    engine_options_.max_running_turns = 1;
    const int64_t room = MemoryBytes() - without_kv - (largest_slots - smallest_slots);
    engine_options_.kv_memory_bytes = std::min(wanted, room) / page_bytes_ * page_bytes_;
    for (RowPlan& row : rows_) {
      const int64_t pages = CeilDiv(row.context(), engine_options_.tokens_per_page);
      row.batch = static_cast<int>(
          std::min<int64_t>(row.batch, engine_options_.kv_memory_bytes / page_bytes_ / pages));
      engine_options_.max_running_turns = std::max(engine_options_.max_running_turns, row.batch);
      engine_options_.max_context = std::max(engine_options_.max_context, row.context());
    }
    return true;
  }

  void ChoosePositions(RowPlan& row) const {
    const int32_t last = row.context() - sizes_.batch_steps - 2;
    row.positions = {row.row.prompt, row.row.prompt + row.row.generated / 2, last};
    if (!config_.layer_map.cyclic() || row.row.prompt <= config_.default_passes()) return;
    row.early_position = std::max(1, row.row.prompt / 32);
  }

  absl::Status Load() {
    engine_options_.weight_format = run_.options.weights;
    LCKV_ASSIGN_OR_RETURN(engine_options_.kv_dtype, ParseDType(run_.options.kv));
    engine_options_.max_waiting_turns = std::max(256, engine_options_.max_running_turns);
    engine_options_.step_tokens = run_.options.step_tokens;
    if (!Fits("engine", static_cast<double>(weight_bytes_) / kLoadBytesPerSecond)) {
      return absl::DeadlineExceededError("no time to load the weights");
    }
    const double begin = run_.budget.Spent();
    LCKV_ASSIGN_OR_RETURN(
        const std::unique_ptr<Checkpoint> checkpoint,
        Checkpoint::Random(config_, {.seed = 1, .dtype = DType::kBf16, .repeat_layers = true}));
    const double made = run_.budget.Spent();
    LCKV_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, OpenDevice(run_.options.device));
    LCKV_ASSIGN_OR_RETURN(
        engine_, Engine::Create(*checkpoint, std::move(backend), engine_options_, &clock_));
    held_ = std::make_unique<HeldSessions>(engine_.get());
    work_ = std::make_unique<ModelWork>(&config_, &engine_->page_layout(),
                                        SizeOf(config_, run_.format, engine_options_.max_context),
                                        ModelWork::Options{.step_tokens = run_.options.step_tokens,
                                                           .device_layers = config_.num_layers});
    shared_work_ =
        std::make_unique<ModelWork>(&config_, &engine_->page_layout(),
                                    SizeOf(config_, run_.format, engine_options_.max_context),
                                    ModelWork::Options{.step_tokens = run_.options.step_tokens,
                                                       .device_layers = config_.num_layers,
                                                       .shared_kv_once = true});
    Json loaded = Case("load");
    loaded["engine"] = engine_->description();
    loaded["numerics_class"] = std::string(engine_->numerics_class());
    loaded["layer_map"] = config_.layer_map.ToString();
    loaded["weight_bytes"] = weight_bytes_;
    loaded["kv_memory_bytes"] = engine_options_.kv_memory_bytes;
    loaded["kv_bytes_per_token"] = engine_->page_layout().bytes_per_token();
    loaded["generate_seconds"] = made - begin;
    loaded["load_seconds"] = run_.budget.Spent() - made;
    run_.cases.push_back(std::move(loaded));
    return absl::OkStatus();
  }

  // Full decode steps of the first `batch` sessions at `tokens` tokens of context, at most `times`
  // rounds.
  absl::StatusOr<std::vector<double>> TimeSteps(int batch, int32_t tokens, int32_t steps,
                                                int times) {
    LCKV_RETURN_IF_ERROR(held_->Hold(batch, tokens));
    std::vector<double> all;
    double spent = 0;
    for (int round = 0; round < times && spent < kShortSeconds; ++round) {
      clock_.TakeDecodeSteps(batch);
      LCKV_ASSIGN_OR_RETURN(const TurnTimes turns, held_->Decode(batch, steps));
      const std::vector<double> seconds = clock_.TakeDecodeSteps(batch);
      all.insert(all.end(), seconds.begin(), seconds.end());
      spent += turns.seconds;
    }
    if (all.empty()) return absl::InternalError("no step had the whole batch");
    return all;
  }

  absl::Status DecodeOne() {
    const int32_t steps =
        std::min(sizes_.decode_steps, engine_options_.max_context - sizes_.decode_context - 1);
    LCKV_ASSIGN_OR_RETURN(const std::vector<double> seconds,
                          TimeSteps(1, sizes_.decode_context, steps, kRepeats));
    const double median = Median(seconds);
    const int64_t position = sizes_.decode_context + steps / 2;
    const Work work = work_->DecodeStep(1, position);
    Json result = Case("decode");
    result["batch"] = 1;
    result["position"] = position;
    result["steps_timed"] = seconds.size();
    result["step_seconds"] = median;
    result["tokens_per_second"] = 1 / median;
    result["bytes_per_token"] = work.device_bytes;
    result.update(run_.Compare(work, median));
    run_.cases.push_back(std::move(result));
    held_->Clear();
    return absl::OkStatus();
  }

  // The time of `prompts` inputs of `tokens` tokens encoded together. Inputs that the passes make
  // exact anyway go token by token: the same bits in fewer steps. Negative: no time for it.
  absl::StatusOr<double> TimeEncode(int32_t tokens, int32_t prompts) {
    const auto known = encode_seconds_.find({tokens, prompts});
    if (known != encode_seconds_.end()) return known->second;
    FreshTurns fresh;
    fresh.policy.sequential = Sequential(tokens);
    const std::string what = absl::StrCat("encode ", prompts, " x ", tokens);
    double estimate = 0;
    if (prompts > 1) {
      // Inputs of less than so many rows together are encoded in little more time than one.
      constexpr int32_t kCheapRows = 512;
      LCKV_ASSIGN_OR_RETURN(const double one, TimeEncode(tokens, 1));
      if (one < 0) return one;
      estimate = one * std::max(1, prompts * tokens / std::max(tokens, kCheapRows));
    } else {
      // Twice: a few tokens say whether there is time for more, more say it better.
      for (const int32_t probe : {std::min(tokens, 16), std::min(tokens, 256)}) {
        if (!Fits(what, estimate * probe / tokens)) return encode_seconds_[{tokens, prompts}] = -1;
        fresh.prompt = probe;
        LCKV_ASSIGN_OR_RETURN(const TurnTimes turns, RunFresh(*engine_, fresh));
        estimate = turns.seconds * tokens / probe;
      }
    }
    if (!Fits(what, estimate)) return encode_seconds_[{tokens, prompts}] = -1;
    fresh.prompt = tokens;
    fresh.batch = prompts;
    std::vector<double> seconds;
    double spent = 0;
    for (int round = 0; round < kRepeats && spent < kShortSeconds; ++round) {
      LCKV_ASSIGN_OR_RETURN(const TurnTimes turns, RunFresh(*engine_, fresh));
      seconds.push_back(turns.seconds);
      spent += turns.seconds;
    }
    return encode_seconds_[{tokens, prompts}] = Median(seconds);
  }

  bool Sequential(int32_t tokens) const {
    return config_.layer_map.cyclic() && tokens <= config_.default_passes();
  }

  // So many prompts are encoded in place of a batch's.
  int32_t PromptsOf(int32_t tokens, int batch) const {
    return std::clamp(sizes_.encode_tokens / tokens, 1, batch);
  }

  absl::Status EncodeCases() {
    const int32_t tokens = std::min(sizes_.encode_prompt, engine_options_.max_context - 1);
    const int32_t several = PromptsOf(tokens, engine_options_.max_running_turns);
    for (const int32_t prompts : {1, several}) {
      if (prompts == several && several == 1 && encode_seconds_.count({tokens, 1}) > 0) continue;
      LCKV_ASSIGN_OR_RETURN(const double seconds, TimeEncode(tokens, prompts));
      if (seconds < 0) continue;
      const Work work = work_->Encode(prompts, tokens);
      Json result = Case("encode");
      result["prompts"] = prompts;
      result["prompt"] = tokens;
      result["passes"] = config_.default_passes();
      result["seconds"] = seconds;
      result["tokens_per_second"] = prompts * tokens / seconds;
      result["flops"] = work.linear_flops + work.attention_flops;
      result.update(run_.Compare(work, seconds));
      run_.cases.push_back(std::move(result));
    }
    return absl::OkStatus();
  }

  absl::Status Pages() {
    const int32_t tokens = std::min(sizes_.page_tokens, engine_options_.max_context - 1);
    LCKV_RETURN_IF_ERROR(held_->Hold(1, tokens));
    std::vector<double> out_seconds, in_seconds;
    PageTraffic out, in;
    for (int round = 0; round <= kRepeats; ++round) {
      LCKV_ASSIGN_OR_RETURN(out, held_->Export());
      LCKV_ASSIGN_OR_RETURN(in, held_->Import());
      if (round == 0) continue;  // warms up
      out_seconds.push_back(out.seconds);
      in_seconds.push_back(in.seconds);
    }
    const auto share = [](double rate, double pinned) {
      return pinned > 0 ? Json(rate / pinned) : Json();
    };
    Json result = Case("pages");
    const double out_rate = static_cast<double>(out.bytes) / Median(out_seconds);
    const double in_rate = static_cast<double>(in.bytes) / Median(in_seconds);
    result["tokens"] = tokens;
    result["bytes"] = out.bytes;
    result["page_bytes"] = page_bytes_;
    result["out_bytes_per_second"] = out_rate;
    result["in_bytes_per_second"] = in_rate;
    result["out_share_of_pinned"] = share(out_rate, run_.rates.to_host_bytes_per_second);
    result["in_share_of_pinned"] = share(in_rate, run_.rates.to_device_bytes_per_second);
    run_.cases.push_back(std::move(result));
    return absl::OkStatus();
  }

  struct Point {
    int batch = 0;
    int32_t position = 0;
  };

  double ImportSeconds(const Point& point) const {
    const PageTraffic& imported = held_->imported();
    const bool timed = imported.seconds > 0.5;
    const double rate =
        timed ? static_cast<double>(imported.bytes) / imported.seconds : kImportBytesPerSecond;
    const int64_t pages = CeilDiv(point.position, engine_options_.tokens_per_page) * point.batch;
    return static_cast<double>(pages * page_bytes_) / rate;
  }

  // All rows' points in descending order of position: sessions are then cut more often than
  // imported.
  void MeasurePoints() {
    std::vector<Point> points;
    for (const RowPlan& row : rows_) {
      for (const int32_t position : row.positions) points.push_back({row.batch, position});
      if (row.early_position > 0) points.push_back({row.batch, row.early_position});
    }
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
      return std::pair(-a.position, a.batch) < std::pair(-b.position, b.batch);
    });
    int held = 0;
    double last_step = 0;
    for (const Point& point : points) {
      const std::string what = absl::StrCat("step of ", point.batch, " at ", point.position);
      const double import = point.batch > held ? ImportSeconds(point) : 0;
      if (!Fits(what, import + last_step * sizes_.batch_steps)) continue;
      const auto seconds = TimeSteps(point.batch, point.position, sizes_.batch_steps, kRepeats);
      if (!seconds.ok()) {
        run_.Fail(group_, what, seconds.status());
        return;
      }
      held = std::max(held, point.batch);
      last_step = Median(*seconds);
      step_seconds_[point.batch][point.position] = last_step;
    }
    held_->Clear();
  }

  absl::Status ReportRow(const RowPlan& row) {
    const std::map<int32_t, double>& timed = step_seconds_[row.batch];
    std::map<int32_t, double> generation;
    Json points = Json::array();
    for (const int32_t position : row.positions) {
      const auto found = timed.find(position);
      if (found == timed.end()) continue;
      generation[MiddleOf(position)] = found->second;
      points.push_back(PointOf(row.batch, MiddleOf(position), found->second));
    }
    if (generation.empty()) {
      run_.Skip(group_, RowName(row), "none of its decode steps were timed");
      return absl::OkStatus();
    }
    const int32_t prompts = PromptsOf(row.row.prompt, row.batch);
    LCKV_ASSIGN_OR_RETURN(const double encode, TimeEncode(row.row.prompt, prompts));
    if (encode < 0) {
      run_.Skip(group_, RowName(row), "no time to encode its prompts");
      return absl::OkStatus();
    }
    // The first generated token comes from encoding.
    const double decode = SumSteps(generation, row.row.prompt, row.context() - 1);
    Json result = Case("batch");
    result["prompt"] = row.row.prompt;
    result["generated"] = row.row.generated;
    result["batch"] = row.batch;
    result["batch_limit"] = row.limited ? "max-batch" : "memory";
    result["shortened"] = absl::StrFormat(
        "encoding: %d of %d prompts timed, scaled; decoding: full steps timed at %d positions, "
        "summed over all by straight lines between them",
        prompts, row.batch, generation.size());
    AddTotals(row, result, encode / prompts * row.batch, decode);
    result["encode_policy"] = Sequential(row.row.prompt) ? "sequential" : "passes";
    result["decode_points"] = std::move(points);
    AddSequentialEncoding(row, timed, decode, result);
    AddPaper(row, result);
    run_.cases.push_back(std::move(result));
    return absl::OkStatus();
  }

  // Of the steps that are timed from there on.
  int32_t MiddleOf(int32_t position) const { return position + sizes_.batch_steps / 2; }

  static double Tokens(const RowPlan& row) {
    return static_cast<double>(row.batch) * row.row.generated;
  }

  void AddTotals(const RowPlan& row, Json& result, double encode, double decode) const {
    result["encode_seconds"] = encode;
    result["decode_seconds"] = decode;
    result["seconds"] = encode + decode;
    result["tokens_per_second"] = Tokens(row) / (encode + decode);
  }

  Json PointOf(int batch, int64_t position, double seconds) const {
    Json point = {
        {"position", position}, {"step_seconds", seconds}, {"tokens_per_second", batch / seconds}};
    point.update(run_.Compare(work_->DecodeStep(batch, position), seconds));
    const Json shared = run_.Compare(shared_work_->DecodeStep(batch, position), seconds);
    for (const char* name : {"share_of_sheet_roofline", "share_of_measured_roofline"}) {
      point[absl::StrCat(name, "_kv_read_once")] = shared[name];
    }
    return point;
  }

  // What the row would take if the prompts were encoded token by token, as the exact policy does,
  // all of the batch at once: a step of so many rows at each position of the prompt.
  void AddSequentialEncoding(const RowPlan& row, const std::map<int32_t, double>& timed,
                             double decode, Json& result) const {
    result["sequential_encoding"] = Json();
    std::map<int32_t, double> prompt;
    for (const int32_t position : {row.early_position, row.positions.front()}) {
      const auto found = timed.find(position);
      if (found != timed.end()) prompt[MiddleOf(position)] = found->second;
    }
    if (row.early_position == 0 || prompt.size() < 2) return;
    const double encode = SumSteps(prompt, 0, row.row.prompt);
    result["sequential_encoding"] = {{"encode_seconds", encode},
                                     {"tokens_per_second", Tokens(row) / (encode + decode)}};
  }

  void AddPaper(const RowPlan& row, Json& result) const {
    const PaperRow* paper = PaperRowOf(group_.model, row.row);
    result["paper"] = Json();
    if (paper == nullptr) return;
    const auto map = static_cast<size_t>(
        std::find(kPaperWarmupLayers.begin(), kPaperWarmupLayers.end(), group_.warmup) -
        kPaperWarmupLayers.begin());
    result["paper"] = {{"device", paper->device},
                       {"batch", paper->largest_batch[map]},
                       {"tokens_per_second", paper->tokens_per_second[map]}};
  }

  BenchRun& run_;
  const Group& group_;
  const CaseSizes sizes_;
  ModelConfig config_;
  EngineOptions engine_options_;
  std::vector<RowPlan> rows_;
  int64_t weight_bytes_ = 0, page_bytes_ = 0;
  StepClock clock_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<HeldSessions> held_;
  std::unique_ptr<ModelWork> work_, shared_work_;
  std::map<std::pair<int32_t, int32_t>, double> encode_seconds_;  // by tokens, prompts
  std::map<int, std::map<int32_t, double>> step_seconds_;         // by batch, position
};

}  // namespace

void RunGroup(BenchRun& run, const Group& group) {
  const absl::Status status = GroupBench(run, group).Run();
  if (absl::IsDeadlineExceeded(status)) return;  // has said so
  if (!status.ok()) run.Fail(group, "engine", status);
}

}  // namespace lckv::bench
