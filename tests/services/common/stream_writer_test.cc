// The five endings of a stream: normal, early error, client cancel, cancel while active, server
// stop; and the queue's bound.

#include "services/common/stream_writer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/channel.h"
#include "services/common/server_runner.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

constexpr size_t kCapacity = 2;

// What the test waits for from the writer; outlives it.
struct Events {
  std::promise<void> cancelled;
  std::promise<void> done;
};

class TestWriter final : public StreamWriter<v1::DrainProgress> {
 public:
  explicit TestWriter(Events* events) : StreamWriter(kCapacity), events_(events) {}

  // Blocks the producing test thread, not gRPC's, until the message is taken or the client is gone.
  bool Write(uint32_t number) {
    for (;;) {
      v1::DrainProgress message;
      message.set_running_turns(number);
      const WriteResult result = TryWrite(std::move(message));
      if (result != WriteResult::kFull) return result == WriteResult::kAccepted;
      MutexLock lock(mu_);
      while (written_ == 0) room_.Wait(mu_);
      written_ = 0;
    }
  }

 private:
  void OnWritten() override {
    MutexLock lock(mu_);
    ++written_;
    room_.NotifyAll();
  }
  void OnCancelled() override { events_->cancelled.set_value(); }
  void OnDone() override {
    events_->done.set_value();
    delete this;
  }

  Events* const events_;
  Mutex mu_;
  CondVar room_;
  int written_ ABSL_GUARDED_BY(mu_) = 0;
};

class FakeService final : public v1::Worker::CallbackService {
 public:
  grpc::ServerWriteReactor<v1::DrainProgress>* Drain(grpc::CallbackServerContext*,
                                                     const v1::DrainRequest*) override {
    auto* writer = new TestWriter(&events);
    started.set_value(writer);
    return writer;
  }

  Events events;
  std::promise<TestWriter*> started;
};

class StreamWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.linger = absl::ZeroDuration();
    auto runner = ServerRunner::Start(options, {{v1::Worker::service_full_name(), &service_}});
    ASSERT_OK(runner);
    runner_ = *std::move(runner);
    stub_ = v1::Worker::NewStub(MakeChannel(runner_->address()));
    reader_ = stub_->Drain(&context_, v1::DrainRequest());
    writer_ = service_.started.get_future().get();
  }

  FakeService service_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<v1::Worker::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::DrainProgress>> reader_;
  TestWriter* writer_ = nullptr;  // until End
};

TEST_F(StreamWriterTest, NormalEndDeliversEverythingInOrder) {
  std::thread producer([&] {
    for (uint32_t i = 0; i < 100; ++i) EXPECT_TRUE(writer_->Write(i));
    writer_->End(grpc::Status::OK);
  });
  v1::DrainProgress message;
  for (uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(reader_->Read(&message));
    EXPECT_EQ(message.running_turns(), i);
  }
  EXPECT_FALSE(reader_->Read(&message));
  EXPECT_TRUE(reader_->Finish().ok());
  producer.join();
  service_.events.done.get_future().wait();
}

TEST_F(StreamWriterTest, EarlyErrorEndsWithItsStatus) {
  writer_->End(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such session"));
  v1::DrainProgress message;
  EXPECT_FALSE(reader_->Read(&message));
  const grpc::Status status = reader_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no such session");
  service_.events.done.get_future().wait();
}

TEST_F(StreamWriterTest, EndDeliversQueuedMessagesFirst) {
  v1::DrainProgress message;
  for (size_t i = 0; i < kCapacity; ++i) {
    message.set_running_turns(static_cast<uint32_t>(i));
    ASSERT_EQ(writer_->TryWrite(v1::DrainProgress(message)), WriteResult::kAccepted);
  }
  writer_->End(grpc::Status::OK);
  for (size_t i = 0; i < kCapacity; ++i) {
    ASSERT_TRUE(reader_->Read(&message));
    EXPECT_EQ(message.running_turns(), i);
  }
  EXPECT_FALSE(reader_->Read(&message));
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(StreamWriterTest, ClientCancelWakesAnIdleProducer) {
  context_.TryCancel();
  service_.events.cancelled.get_future().wait();
  EXPECT_TRUE(writer_->cancelled());
  EXPECT_EQ(writer_->TryWrite(v1::DrainProgress()), WriteResult::kGone);
  std::future<void> done = service_.events.done.get_future();
  // The producer has not let go yet.
  EXPECT_EQ(done.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  writer_->End(grpc::Status::CANCELLED);
  done.wait();
  EXPECT_EQ(reader_->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamWriterTest, CancelWhileActiveStopsTheProducer) {
  std::thread producer([&] {
    uint32_t i = 0;
    while (writer_->Write(i)) ++i;
    writer_->End(grpc::Status::CANCELLED);
  });
  v1::DrainProgress message;
  ASSERT_TRUE(reader_->Read(&message));
  context_.TryCancel();
  producer.join();
  service_.events.done.get_future().wait();
}

TEST_F(StreamWriterTest, ASlowClientBoundsTheQueue) {
  // The client reads nothing: after what the transport buffers, messages are refused.
  v1::DrainProgress message;
  WriteResult result = WriteResult::kAccepted;
  for (int i = 0; i < 10'000'000 && result == WriteResult::kAccepted; ++i) {
    result = writer_->TryWrite(v1::DrainProgress(message));
  }
  EXPECT_EQ(result, WriteResult::kFull);
  context_.TryCancel();
  writer_->End(grpc::Status::CANCELLED);
  service_.events.done.get_future().wait();
}

TEST_F(StreamWriterTest, ServerStopCancelsTheStream) {
  std::thread stopping([&] { runner_->Stop(absl::Seconds(60), [](absl::Time) {}); });
  service_.events.cancelled.get_future().wait();
  writer_->End(grpc::Status::CANCELLED);
  service_.events.done.get_future().wait();
  stopping.join();
  v1::DrainProgress message;
  EXPECT_FALSE(reader_->Read(&message));
  EXPECT_FALSE(reader_->Finish().ok());
}

// The write may fail before gRPC says that the call was cancelled: the producer must not take the
// client for one that is still there.
TEST(StreamWriterAloneTest, AFailedWriteMeansThatTheClientIsGone) {
  Events events;
  TestWriter writer(&events);
  ASSERT_TRUE(writer.Write(1));
  ASSERT_TRUE(writer.Write(2));
  EXPECT_FALSE(writer.cancelled());
  static_cast<grpc::ServerWriteReactor<v1::DrainProgress>&>(writer).OnWriteDone(false);
  EXPECT_TRUE(writer.cancelled());
  EXPECT_EQ(writer.TryWrite(v1::DrainProgress()), WriteResult::kGone);
}

}  // namespace
}  // namespace lckv
