// The gateway as a program: flags, the ready line, the stop.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <vector>

#include "tests/services/gateway/gateway_fixture.h"

namespace lckv::gateway {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class RunGatewayTest : public GatewayFixture {
 protected:
  static int Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "gateway");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    return RunGateway(static_cast<int>(argv.size()), argv.data());
  }
};

TEST_F(RunGatewayTest, SaysThatItIsReadyAndStopsOnSigterm) {
  FakeWorker& worker = AddWorker("a");
  // Blocked, so that it waits until the gateway asks for it.
  BlockStopSignals();
  ASSERT_EQ(raise(SIGTERM), 0);
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(
      Run({"--listen", "127.0.0.1:0", "--worker", worker.address(), "--cache-node", "127.0.0.1:1",
           "--turn-timeout", "30s", "--grace", "250ms", "--log-level", "warning", "--reflection"}),
      0);
  EXPECT_THAT(::testing::internal::GetCapturedStdout(),
              AllOf(StartsWith("{\"service\":\"gateway\",\"listen\":\"127.0.0.1:"),
                    HasSubstr("\"metrics\":\"127.0.0.1:"), HasSubstr("}\n")));
}

TEST_F(RunGatewayTest, RefusesBadFlags) {
  FakeWorker& worker = AddWorker("a");
  const std::vector<std::string> good = {"--listen",       "127.0.0.1:0",  "--worker",
                                         worker.address(), "--cache-node", "127.0.0.1:1"};
  const std::vector<std::vector<std::string>> bad = {
      {"--turn-timeout", "soon"},
      {"--turn-timeout", "-1s"},
      {"--max-concurrent-turns", "0"},
      {"--log-level", "loud"},
      {"--unknown"},
      {"--worker", "nowhere"},
      {"--metrics-listen", "x"},
      // A port that is taken.
      {"--metrics-listen", worker.address()},
  };
  for (const auto& extra : bad) {
    std::vector<std::string> arguments = good;
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    EXPECT_NE(Run(arguments), 0) << extra[0];
  }
  EXPECT_NE(Run({"--worker", worker.address()}), 0);
  EXPECT_NE(Run({"--cache-node", "127.0.0.1:1"}), 0);
  EXPECT_NE(Run({"--worker", worker.address(), "--cache-node", "127.0.0.1:1", "--listen",
                 worker.address()}),
            0);
}

}  // namespace
}  // namespace lckv::gateway
