#include "services/cli/child_process.h"

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

absl::StatusOr<std::unique_ptr<ChildProcess>> Shell(const std::string& script,
                                                    const std::string& log_path = "") {
  return ChildProcess::Start({.argv = {"/bin/sh", "-c", script}, .log_path = log_path});
}

TEST(ChildProcessTest, LinesThenEnd) {
  ASSERT_OK_AND_ASSIGN(auto child, Shell("echo one; echo two; printf three; exit 7"));
  EXPECT_EQ(child->ReadLine(Soon()).value(), "one");
  EXPECT_EQ(child->ReadLine(Soon()).value(), "two");
  EXPECT_THAT(child->ReadLine(Soon()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(child->Wait(Soon()), 7);
  EXPECT_EQ(child->Wait(Soon()), 7);
}

TEST(ChildProcessTest, DeadlineOfASilentChild) {
  ASSERT_OK_AND_ASSIGN(auto child, Shell("exec sleep 600"));
  EXPECT_THAT(child->ReadLine(absl::Now()), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(child->Wait(absl::Now()), std::nullopt);
  child->Signal(SIGTERM);
  EXPECT_EQ(child->Wait(Soon()), 128 + SIGTERM);
  child->Signal(SIGTERM);
}

TEST(ChildProcessTest, TooLongALine) {
  ASSERT_OK_AND_ASSIGN(auto child, Shell("head -c 100000 /dev/zero; exec sleep 600"));
  EXPECT_THAT(child->ReadLine(Soon()), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(ChildProcessTest, ErrorsGoToTheLog) {
  const std::string path = ::testing::TempDir() + "child_process_test.log";
  std::filesystem::remove(path);
  ASSERT_OK_AND_ASSIGN(auto child, Shell("echo trouble >&2", path));
  EXPECT_EQ(child->Wait(Soon()), 0);
  std::ifstream file(path);
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(file)), {}), "trouble\n");
}

TEST(ChildProcessTest, SignalsAreNotBlockedInIt) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  auto child = Shell("exec sleep 600");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_OK(child);
  (*child)->Signal(SIGTERM);
  EXPECT_EQ((*child)->Wait(Soon()), 128 + SIGTERM);
}

TEST(ChildProcessTest, NoSuchProgram) {
  EXPECT_THAT(ChildProcess::Start({}), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK_AND_ASSIGN(auto child, ChildProcess::Start({.argv = {"/nonexistent/program"}}));
  EXPECT_EQ(child->Wait(Soon()), 127);
  EXPECT_FALSE(ChildProcess::Start({.argv = {"/bin/true"}, .log_path = "/nonexistent/log"}).ok());
}

}  // namespace
}  // namespace lckv
