// The Worker service over a real connection, on a fake engine.

#include "services/worker/worker_service.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "rpc/channel.h"
#include "rpc/status_conversion.h"
#include "services/common/server_runner.h"
#include "tests/services/worker/worker_fixture.h"

namespace lckv::worker {
namespace {

class WorkerServiceTest : public WorkerFixture {
 protected:
  WorkerServiceTest()
      : worker_("w1", &cache_),
        desk_(1, 1),
        ticker_(absl::Milliseconds(5)),
        drainer_(&worker_.core, &desk_, &worker_.board, &worker_.metrics, DrainOptions(),
                 [this] { ticker_.Tick(); }),
        executor_(2, 8) {
    WorkerService::Parts parts;
    parts.engine = &worker_.engine;
    parts.tokenizer = &worker_.tokenizer;
    parts.core = &worker_.core;
    parts.desk = &desk_;
    parts.board = &worker_.board;
    parts.ticker = &ticker_;
    parts.drainer = &drainer_;
    parts.executor = &executor_;
    parts.tracer = &tracer_;
    service_ = std::make_unique<WorkerService>(
        parts, DescribeModel(worker_.engine, /*has_chat_template=*/true, 999), "w1");
    ServerOptions options;
    absl::StatusOr<std::unique_ptr<ServerRunner>> server =
        ServerRunner::Start(options, {{v1::Worker::service_full_name(), service_.get()}});
    EXPECT_OK(server);
    server_ = *std::move(server);
    stub_ = v1::Worker::NewStub(MakeChannel(server_->address()));
    worker_.board.SetState(v1::LoadReport::READY);
  }
  ~WorkerServiceTest() override {
    worker_.engine.AllowAll();
    ticker_.Stop();
    server_.reset();
  }

  static Drainer::Options DrainOptions() {
    Drainer::Options options;
    options.turn_grace = absl::ZeroDuration();
    return options;
  }

  struct Stream {
    explicit Stream(v1::Worker::Stub* stub, const v1::WorkerGenerateRequest& request)
        : reader(stub->Generate(&context, request)) {}
    // The next frame that has tokens or is the last.
    v1::GenerateResponse Next() {
      v1::GenerateResponse frame;
      while (reader->Read(&frame) && frame.token_ids_size() == 0 && !frame.has_done()) {
      }
      return frame;
    }
    absl::Status Finish() {
      v1::GenerateResponse frame;
      while (reader->Read(&frame)) {
        tokens.insert(tokens.end(), frame.token_ids().begin(), frame.token_ids().end());
        text += frame.text();
        if (frame.has_done()) done = frame.done();
      }
      return FromGrpcStatus(reader->Finish());
    }

    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
    std::vector<int32_t> tokens;
    std::string text;
    v1::TurnResult done;
  };

  TestWorker worker_;
  Tracer tracer_{TracingOptions(), nullptr, &worker_.registry};
  TurnDesk desk_;
  ReportTicker ticker_;
  Drainer drainer_;
  Executor executor_;
  std::unique_ptr<WorkerService> service_;
  std::unique_ptr<ServerRunner> server_;
  std::unique_ptr<v1::Worker::Stub> stub_;
};

TEST_F(WorkerServiceTest, ATurnEndsNormally) {
  const auto expected = Undisturbed({Request("t1")});
  Stream stream(stub_.get(), Request("t1"));
  ASSERT_OK(stream.Finish());
  EXPECT_EQ(stream.tokens, expected[0]);
  EXPECT_EQ(stream.done.version(), 1u);
  EXPECT_EQ(stream.done.worker(), "w1");
}

TEST_F(WorkerServiceTest, ATurnEndsWithAnEarlyError) {
  Stream stream(stub_.get(), Request("t1", /*input_tokens=*/0));
  EXPECT_THAT(stream.Finish(), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(WorkerServiceTest, AClientThatCancelsEndsItsTurn) {
  worker_.engine.AllowTokens(3);
  Stream stream(stub_.get(), Request("t1"));
  EXPECT_GT(stream.Next().token_ids_size(), 0);
  stream.context.TryCancel();
  EXPECT_THAT(stream.Finish(), StatusIs(absl::StatusCode::kCancelled));
  ASSERT_TRUE(desk_.WaitIdle(absl::InfiniteFuture()));
  EXPECT_EQ(worker_.engine.load().running_turns, 0);
  EXPECT_EQ(Stored().last_finish_reason(), v1::CANCELLED);
}

TEST_F(WorkerServiceTest, ADeadlineEndsATurn) {
  worker_.engine.AllowTokens(3);
  v1::WorkerGenerateRequest request = Request("t1");
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader =
      stub_->Generate(&context, request);
  v1::GenerateResponse frame;
  while (reader->Read(&frame)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(desk_.WaitIdle(absl::InfiniteFuture()));
  EXPECT_EQ(worker_.engine.load().running_turns, 0);
}

TEST_F(WorkerServiceTest, AFullQueueIsATypedError) {
  worker_.engine.AllowTokens(3);
  Stream running(stub_.get(), Request("t1"));
  EXPECT_GT(running.Next().token_ids_size(), 0);
  v1::WorkerGenerateRequest other = Request("t1");
  other.set_session_id("s2");
  Stream waiting(stub_.get(), other);
  while (desk_.waiting() == 0) std::this_thread::yield();
  Stream refused(stub_.get(), other);
  const absl::Status status = refused.Finish();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(status), kReasonQueueFull);
  EXPECT_TRUE(GetRetryAfter(status).has_value());
  worker_.engine.AllowAll();
  EXPECT_OK(running.Finish());
  EXPECT_OK(waiting.Finish());
}

TEST_F(WorkerServiceTest, LoadReportsSessionsAndState) {
  grpc::ClientContext context;
  v1::LoadRequest request;
  request.set_interval_ms(60'000);
  std::unique_ptr<grpc::ClientReader<v1::LoadReport>> reader = stub_->Load(&context, request);
  v1::LoadReport report;
  ASSERT_TRUE(reader->Read(&report));
  EXPECT_TRUE(report.full_list());
  EXPECT_EQ(report.worker_id(), "w1");
  EXPECT_EQ(report.state(), v1::LoadReport::READY);
  EXPECT_EQ(report.max_waiting_turns(), 1u);
  EXPECT_EQ(report.kv_pages_capacity(), 256u);
  EXPECT_EQ(report.fingerprint().size(), 32u);
  EXPECT_EQ(report.numerics_class(), "fake-r1");
  Stream stream(stub_.get(), Request("t1"));
  ASSERT_OK(stream.Finish());
  // The next report is a minute away, unless the state changes.
  drainer_.Start();
  ASSERT_TRUE(reader->Read(&report));
  EXPECT_EQ(report.state(), v1::LoadReport::DRAINING);
  EXPECT_FALSE(report.full_list());
  ASSERT_TRUE(drainer_.Wait(absl::InfiniteFuture()));
  context.TryCancel();
  while (reader->Read(&report)) {
  }
  reader->Finish();
}

TEST_F(WorkerServiceTest, DrainMovesTurnsAndSaysHowFarItIs) {
  const auto expected = Undisturbed({Request("t1")});
  worker_.engine.AllowTokens(20);
  Stream stream(stub_.get(), Request("t1"));
  worker_.engine.WaitUntilStill();
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::DrainProgress>> reader =
      stub_->Drain(&context, v1::DrainRequest());
  v1::DrainProgress progress;
  while (reader->Read(&progress)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(progress.done());
  EXPECT_EQ(progress.running_turns(), 0u);
  EXPECT_EQ(progress.sessions_left(), 0u);
  const absl::Status moved = stream.Finish();
  EXPECT_EQ(ErrorReason(moved), kReasonDraining);
  EXPECT_EQ(stream.tokens, First(expected[0], stream.tokens.size()));
  Stream refused(stub_.get(), Request("t1"));
  EXPECT_EQ(ErrorReason(refused.Finish()), kReasonDraining);
  v1::PrefetchRequest prefetch;
  prefetch.set_session_id("s2");
  v1::PrefetchResponse response;
  grpc::ClientContext prefetch_context;
  EXPECT_EQ(ErrorReason(FromGrpcStatus(stub_->Prefetch(&prefetch_context, prefetch, &response))),
            kReasonDraining);
  EXPECT_EQ(Holder(), "");
}

TEST_F(WorkerServiceTest, OffloadGivesTheSessionBack) {
  Stream stream(stub_.get(), Request("t1"));
  ASSERT_OK(stream.Finish());
  v1::OffloadRequest request;
  request.set_tenant(kTenant);
  request.set_session_id(kSession);
  v1::OffloadResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Offload(&context, request, &response).ok());
  EXPECT_FALSE(worker_.Hot());
  EXPECT_EQ(Stored().kv_tokens(), 59u);
  EXPECT_EQ(Holder(), "");
}

TEST_F(WorkerServiceTest, TokensAndModels) {
  v1::TokenizeRequest tokenize;
  tokenize.set_text("a<|im_end|>");
  tokenize.set_parse_special(true);
  v1::TokenizeResponse tokens;
  grpc::ClientContext one, two, three;
  ASSERT_TRUE(stub_->Tokenize(&one, tokenize, &tokens).ok());
  EXPECT_THAT(tokens.ids(), ::testing::ElementsAre('a', FakeTokenizer::kEnd));
  v1::DetokenizeRequest detokenize;
  detokenize.mutable_ids()->Add('a');
  detokenize.mutable_ids()->Add(FakeTokenizer::kEnd);
  detokenize.set_skip_special(true);
  v1::DetokenizeResponse text;
  ASSERT_TRUE(stub_->Detokenize(&two, detokenize, &text).ok());
  EXPECT_EQ(text.text(), "a");
  v1::ListModelsResponse models;
  ASSERT_TRUE(stub_->ListModels(&three, v1::ListModelsRequest(), &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "fake");
  EXPECT_EQ(models.models(0).kv_bytes_per_token(), 32u);
  EXPECT_EQ(models.models(0).kv_bytes_per_token_full_map(), 999u);
  EXPECT_EQ(models.models(0).passes(), 9u);
  EXPECT_TRUE(models.models(0).has_chat_template());
}

}  // namespace
}  // namespace lckv::worker
