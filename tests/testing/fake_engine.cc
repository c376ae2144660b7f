#include "tests/testing/fake_engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/error_info.h"
#include "base/status_macros.h"

namespace lckv::testing {
namespace {

constexpr int64_t kBytesPerToken = 32;  // of the layout below: K and V of one head of 8 bf16

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x7F4A7C15u;
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  return x * 0x94D049BB133111EBu;
}

// The "KV" of each position.
std::vector<uint64_t> Hashes(const SessionTranscript& transcript) {
  std::vector<uint64_t> hashes;
  uint64_t hash = 1;
  size_t position = 0;
  for (const SegmentRun& run : transcript.segments) {
    for (int32_t i = 0; i < run.tokens; ++i, ++position) {
      const bool starts = run.each_token || i == 0;
      hash = Mix(hash, static_cast<uint64_t>(transcript.tokens[position]) * 2 + (starts ? 1 : 0));
      hashes.push_back(hash);
    }
  }
  LCKV_CHECK(position == transcript.tokens.size());
  return hashes;
}

// Never a special token.
int32_t NextToken(const SessionTranscript& transcript, uint64_t seed) {
  const uint64_t hash = Mix(Hashes(transcript).back(), seed ^ transcript.tokens.size());
  return static_cast<int32_t>(16 + hash % 200);
}

std::vector<uint8_t> PageBytes(const std::vector<uint64_t>& hashes, int64_t page, int64_t kv_tokens,
                               const PageLayout& layout) {
  std::vector<uint8_t> bytes(static_cast<size_t>(layout.page_bytes()));
  const int64_t begin = page * layout.tokens_per_page();
  for (int64_t p = begin; p < std::min(begin + layout.tokens_per_page(), kv_tokens); ++p) {
    std::memcpy(bytes.data() + (p - begin) * kBytesPerToken, &hashes[static_cast<size_t>(p)],
                sizeof(uint64_t));
  }
  return bytes;
}

PageLayout MakeLayout() {
  absl::StatusOr<PageLayout> layout =
      PageLayout::Create({{0, 1, 8}}, DType::kBf16, FakeEngine::kTokensPerPage);
  LCKV_CHECK(layout.ok() && layout->bytes_per_token() == kBytesPerToken);
  return *std::move(layout);
}

}  // namespace

class FakeEngine::Import final : public PageImport {
 public:
  Import(FakeEngine* engine, int64_t pages)
      : engine_(engine),
        bytes_(static_cast<size_t>(pages),
               std::vector<uint8_t>(static_cast<size_t>(engine->layout_.page_bytes()))) {
    for (std::vector<uint8_t>& page : bytes_) buffers_.push_back(page.data());
  }
  ~Import() override { engine_->GiveBackPages(static_cast<int64_t>(bytes_.size())); }
  int64_t size() const override { return static_cast<int64_t>(buffers_.size()); }
  absl::StatusOr<absl::Span<void* const>> Stage(int64_t max_pages, absl::Time) override {
    LCKV_CHECK(!finished_ && landed_ < buffers_.size() && max_pages > 0);
    const int64_t left = size() - static_cast<int64_t>(landed_);
    staged_ = static_cast<size_t>(std::min({max_pages, left, engine_->options_.staging_pages}));
    return absl::MakeConstSpan(buffers_).subspan(landed_, staged_);
  }
  absl::Status Landed(absl::Span<const uint32_t> crc32c) override {
    LCKV_CHECK(!finished_ && crc32c.size() <= staged_);
    for (const uint32_t crc : crc32c) {
      if (Crc32c(bytes_[landed_].data(), bytes_[landed_].size()) != crc) {
        return absl::DataLossError("checksum");
      }
      ++landed_;
      --staged_;
    }
    return absl::OkStatus();
  }
  absl::StatusOr<int64_t> Finish() override {
    finished_ = true;
    return static_cast<int64_t>(landed_);
  }
  int64_t landed() const { return static_cast<int64_t>(landed_); }
  const std::vector<std::vector<uint8_t>>& bytes() const { return bytes_; }

 private:
  FakeEngine* const engine_;
  std::vector<std::vector<uint8_t>> bytes_;
  std::vector<void*> buffers_;
  size_t landed_ = 0;
  size_t staged_ = 0;  // after those
  bool finished_ = false;
};

FakeEngine::FakeEngine(const Options& options) : options_(options), layout_(MakeLayout()) {
  fingerprint_.fill(options.fingerprint);
  config_.name = "fake";
  config_.architecture = "llama";
  config_.vocab_size = kVocab;
  config_.num_layers = 1;
  config_.layer_map = LayerMap::Identity(1);
  config_.eos_tokens = {kEosToken};
  config_.max_positions = options.max_context;
  thread_ = std::thread([this] { Main(); });
}

FakeEngine::~FakeEngine() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
  MutexLock lock(mu_);
  for (auto& [name, session] : sessions_) {
    if (session->turn != nullptr) FinishLocked(*session, FinishReason::kCancelled);
  }
}

EngineLoad FakeEngine::load() const {
  MutexLock lock(mu_);
  EngineLoad load;
  load.pages_used = pages_used_;
  load.pages_capacity = options_.pool_pages;
  load.open_sessions = static_cast<int64_t>(sessions_.size());
  for (const auto& [name, session] : sessions_) load.running_turns += session->turn != nullptr;
  return load;
}

bool FakeEngine::ReservePagesLocked(int64_t pages) {
  if (pages_used_ + pages > options_.pool_pages) return false;
  pages_used_ += pages;
  return true;
}

void FakeEngine::GiveBackPages(int64_t pages) {
  MutexLock lock(mu_);
  pages_used_ -= pages;
}

absl::StatusOr<std::unique_ptr<PageImport>> FakeEngine::ReserveImport(int64_t num_pages) {
  {
    MutexLock lock(mu_);
    if (!ReservePagesLocked(num_pages)) {
      return WithErrorInfo(absl::ResourceExhaustedError("pool full"), {kReasonPoolFull, {}});
    }
  }
  return std::make_unique<Import>(this, num_pages);
}

absl::StatusOr<FakeEngine::Session*> FakeEngine::FindLocked(absl::string_view name) const {
  const auto found = sessions_.find(name);
  if (found == sessions_.end()) return absl::NotFoundError(absl::StrCat("session ", name));
  return found->second.get();
}

absl::Status FakeEngine::OpenSession(absl::string_view name, const EncodePolicy& policy,
                                     SessionTranscript transcript,
                                     std::unique_ptr<PageImport> pages) {
  const auto tokens = static_cast<int64_t>(transcript.tokens.size());
  const int64_t needed = layout_.PagesFor(transcript.kv_tokens);
  if (TotalTokens(transcript.segments) != tokens || transcript.kv_tokens > tokens ||
      (pages == nullptr ? 0 : static_cast<const Import&>(*pages).landed()) < needed) {
    return absl::InvalidArgumentError("segments, tokens and pages do not fit");
  }
  const std::vector<uint64_t> hashes = Hashes(transcript);
  for (int64_t page = 0; page < needed; ++page) {
    const auto& imported = static_cast<const Import&>(*pages).bytes()[static_cast<size_t>(page)];
    const std::vector<uint8_t> expected = PageBytes(hashes, page, transcript.kv_tokens, layout_);
    const int64_t covered =
        std::min<int64_t>(kTokensPerPage, transcript.kv_tokens - page * kTokensPerPage);
    const size_t size = static_cast<size_t>(covered * kBytesPerToken);
    if (!std::equal(expected.begin(), expected.begin() + size, imported.begin())) ++bad_imports_;
  }
  pages.reset();
  MutexLock lock(mu_);
  if (sessions_.find(name) != sessions_.end()) return absl::AlreadyExistsError(name);
  auto session = std::make_unique<Session>();
  session->policy = policy;
  session->transcript = std::move(transcript);
  session->pages = needed;
  pages_used_ += needed;
  sessions_.emplace(std::string(name), std::move(session));
  return absl::OkStatus();
}

absl::Status FakeEngine::CloseSession(absl::string_view name) {
  MutexLock lock(mu_);
  LCKV_ASSIGN_OR_RETURN(Session * session, FindLocked(name));
  if (session->turn != nullptr) FinishLocked(*session, FinishReason::kCancelled);
  pages_used_ -= session->pages;
  sessions_.erase(sessions_.find(name));
  return absl::OkStatus();
}

absl::StatusOr<SessionTranscript> FakeEngine::GetTranscript(absl::string_view name) const {
  MutexLock lock(mu_);
  LCKV_ASSIGN_OR_RETURN(const Session* session, FindLocked(name));
  return session->transcript;
}

absl::StatusOr<SessionExport> FakeEngine::Export(absl::string_view name, int32_t first_page,
                                                 int32_t max_pages) {
  MutexLock lock(mu_);
  LCKV_ASSIGN_OR_RETURN(const Session* session, FindLocked(name));
  SessionExport exported;
  exported.transcript = session->transcript;
  exported.first_page = first_page;
  const std::vector<uint64_t> hashes = Hashes(session->transcript);
  const int32_t kv_tokens = session->transcript.kv_tokens;
  const int64_t end =
      std::min<int64_t>(layout_.PagesFor(kv_tokens),
                        int64_t{first_page} + std::min(max_pages, options_.export_pages));
  for (int64_t page = first_page; page < end; ++page) {
    exported.pages.push_back(PageBytes(hashes, page, kv_tokens, layout_));
  }
  return exported;
}

absl::Status FakeEngine::Truncate(absl::string_view name, int32_t tokens) {
  MutexLock lock(mu_);
  LCKV_ASSIGN_OR_RETURN(Session * session, FindLocked(name));
  if (session->turn != nullptr) return absl::FailedPreconditionError("a turn runs");
  SessionTranscript& transcript = session->transcript;
  if (tokens < 0 || static_cast<size_t>(tokens) > transcript.tokens.size()) {
    return absl::OutOfRangeError("tokens");
  }
  transcript.tokens.resize(static_cast<size_t>(tokens));
  TruncateSegments(tokens, transcript.segments);
  transcript.kv_tokens = std::min(transcript.kv_tokens, tokens);
  return absl::OkStatus();
}

absl::Status FakeEngine::Submit(TurnRequest request, std::shared_ptr<TurnStream> stream) {
  {
    MutexLock lock(mu_);
    LCKV_ASSIGN_OR_RETURN(Session * session, FindLocked(request.session));
    if (session->turn != nullptr) {
      return WithErrorInfo(absl::AbortedError("busy"), {kReasonSessionBusy, {}});
    }
    SessionTranscript& transcript = session->transcript;
    const auto before = static_cast<int32_t>(transcript.tokens.size());
    const auto input = static_cast<int32_t>(request.input.size());
    const auto resumed = static_cast<int32_t>(request.resume_from.size());
    if (before + input + resumed == 0 || request.max_tokens < 1 || resumed > request.max_tokens) {
      return absl::InvalidArgumentError("request");
    }
    if (before + input + resumed >= options_.max_context) {
      return WithErrorInfo(absl::OutOfRangeError("context"), {kReasonContextFull, {}});
    }
    const int64_t total =
        std::min<int64_t>(before + input + request.max_tokens, options_.max_context);
    const int64_t missing = std::max<int64_t>(0, layout_.PagesFor(total) - session->pages);
    if (!ReservePagesLocked(missing)) {
      return WithErrorInfo(absl::ResourceExhaustedError("pool full"), {kReasonPoolFull, {}});
    }
    session->pages += missing;
    transcript.tokens.insert(transcript.tokens.end(), request.input.begin(), request.input.end());
    AppendInput(session->policy, input, transcript.segments);
    for (const int32_t token : request.resume_from) {
      transcript.tokens.push_back(token);
      AppendGenerated(transcript.segments);
    }
    // As for a cyclic map: a segment that was begun is evaluated again, and so is the last token.
    transcript.kv_tokens = UsableKvTokens(
        transcript.segments, std::min(transcript.kv_tokens, before + input + resumed - 1), true);
    auto turn = std::make_unique<Turn>();
    const int32_t computed = (resumed > 0 ? before + input + resumed : before) - 1;
    turn->outcome.input_tokens = input;
    turn->outcome.generated_tokens = resumed;
    turn->outcome.cached_tokens = transcript.kv_tokens;
    turn->outcome.reencoded_tokens = std::max(0, computed - transcript.kv_tokens);
    turn->request = std::move(request);
    turn->stream = std::move(stream);
    session->turn = std::move(turn);
  }
  changed_.NotifyAll();
  return absl::OkStatus();
}

void FakeEngine::Cancel(absl::string_view name) {
  {
    MutexLock lock(mu_);
    const auto found = sessions_.find(name);
    if (found == sessions_.end() || found->second->turn == nullptr) return;
    found->second->turn->cancelled = true;
  }
  changed_.NotifyAll();
}

std::vector<int32_t> FakeEngine::Continuation(SessionTranscript transcript, uint64_t seed,
                                              int count) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(NextToken(transcript, seed));
    transcript.tokens.push_back(tokens.back());
    AppendGenerated(transcript.segments);
  }
  return tokens;
}

void FakeEngine::AllowTokens(int64_t tokens) {
  {
    MutexLock lock(mu_);
    allowed_ = tokens;
  }
  changed_.NotifyAll();
}

void FakeEngine::WaitUntilStill() {
  MutexLock lock(mu_);
  while (allowed_ > 0) changed_.Wait(mu_);
}

void FakeEngine::FailNextTurn(absl::Status status) {
  MutexLock lock(mu_);
  failure_ = std::move(status);
}

void FakeEngine::Main() {
  MutexLock lock(mu_);
  while (!stopping_) {
    // A turn whose stream is full is looked at again soon.
    if (!StepLocked()) changed_.WaitWithTimeout(mu_, absl::Milliseconds(1));
  }
}

bool FakeEngine::StepLocked() {
  bool advanced = false;
  for (auto& [name, session] : sessions_) {
    if (session->turn != nullptr) advanced |= AdvanceLocked(*session);
  }
  return advanced;
}

bool FakeEngine::AdvanceLocked(Session& session) {
  Turn& turn = *session.turn;
  SessionTranscript& transcript = session.transcript;
  const std::vector<int32_t>& stops = turn.request.stop_tokens;
  const auto is_stop = [&stops](int32_t token) {
    return std::find(stops.begin(), stops.end(), token) != stops.end();
  };
  const std::vector<int32_t>& resumed = turn.request.resume_from;
  if (!failure_.ok()) {
    turn.outcome.status = std::exchange(failure_, absl::OkStatus());
    FinishLocked(session, FinishReason::kCancelled);
  } else if (turn.cancelled) {
    FinishLocked(session, FinishReason::kCancelled);
  } else if (!resumed.empty() && is_stop(resumed.back())) {
    FinishLocked(session, FinishReason::kStop);
  } else if (turn.outcome.generated_tokens >= turn.request.max_tokens) {
    FinishLocked(session, FinishReason::kLength);
  } else if (static_cast<int>(transcript.tokens.size()) >= options_.max_context) {
    FinishLocked(session, FinishReason::kContext);
  } else if (allowed_ <= 0 || !turn.stream->HasSpace()) {
    return false;
  } else {
    const auto known = static_cast<int32_t>(transcript.tokens.size());
    computed_tokens_ += known - transcript.kv_tokens;
    transcript.kv_tokens = known;
    const int32_t token = NextToken(transcript, turn.request.sampling.seed);
    transcript.tokens.push_back(token);
    AppendGenerated(transcript.segments);
    ++turn.outcome.generated_tokens;
    turn.stream->Push(TurnToken{token});
    if (is_stop(token)) FinishLocked(session, FinishReason::kStop);
    if (--allowed_ == 0) changed_.NotifyAll();
  }
  return true;
}

void FakeEngine::FinishLocked(Session& session, FinishReason reason) {
  std::unique_ptr<Turn> turn = std::move(session.turn);
  turn->outcome.finish_reason = reason;
  const int64_t needed = layout_.PagesFor(static_cast<int64_t>(session.transcript.tokens.size()));
  if (session.pages > needed) {
    pages_used_ -= session.pages - needed;
    session.pages = needed;
  }
  turn->stream->Push(turn->outcome);
}

}  // namespace lckv::testing
