// Certificates between the services, keys of tenants: the real binaries, with files made here.

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/status_conversion.h"
#include "rpc/tls.h"
#include "services/cli/child_process.h"
#include "tests/integration/cluster.h"
#include "tests/integration/conversation.h"
#include "tests/testing/certificates.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Standard output and error of a program that ran to its end, and its exit status.
struct Output {
  int status = -1;
  std::string text;
};

Output Lckv(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), LCKV_BINARY);
  std::string command = "exec 2>&1; exec \"$0\" \"$@\"";
  std::vector<std::string> argv = {"/bin/sh", "-c", command};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  Output output;
  const auto child = ChildProcess::Start({.argv = argv, .log_path = ""});
  if (!child.ok()) return output;
  const absl::Time deadline = absl::Now() + kPatience;
  for (auto line = (*child)->ReadLine(deadline); line.ok(); line = (*child)->ReadLine(deadline)) {
    absl::StrAppend(&output.text, *line, "\n");
  }
  output.status = (*child)->Wait(deadline).value_or(-1);
  return output;
}

ChannelSecurity Client(const TestAuthority& trusted, const std::string& server_name,
                       const KeyPair& own = {}) {
  return {grpc::SslCredentials({trusted.certificate(), own.key, own.certificate}), server_name};
}

class TlsClusterTest : public ::testing::Test {
 protected:
  std::vector<std::string> Flags(const std::string& role) const {
    return {"--tls-cert", folder_.Path(role + ".crt"), "--tls-key", folder_.Path(role + ".key"),
            "--tls-ca",   folder_.Path("ca.crt")};
  }
  void WritePair(const std::string& role, const KeyPair& pair) const {
    folder_.Write(role + ".crt", pair.certificate);
    folder_.Write(role + ".key", pair.key);
  }
  ClusterOptions Options() const {
    folder_.Write("ca.crt", authority_.certificate());
    for (const char* role : {kWorkerRole, kCacheNodeRole}) {
      WritePair(role, authority_.Sign({.names = {role}}));
    }
    WritePair(kGatewayRole, authority_.Sign({.names = {kGatewayRole, "api.example"}}));
    return {.workers = 2,
            .cache_node_flags = Flags(kCacheNodeRole),
            .worker_flags = Flags(kWorkerRole),
            .gateway_flags = Flags(kGatewayRole),
            .client = Client(authority_, "api.example")};
  }

  const TestFolder folder_;
  const TestAuthority authority_;
};

absl::Status AskWorker(const std::string& address, const ChannelSecurity& security) {
  const auto stub = v1::Worker::NewStub(MakeChannel(address, security));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::TokenizeResponse response;
  v1::TokenizeRequest request;
  request.set_text("hello");
  return FromGrpcStatus(stub->Tokenize(&context, request, &response));
}

absl::Status AskCacheNode(const std::string& address, const ChannelSecurity& security) {
  const auto stub = v1::Cache::NewStub(MakeChannel(address, security));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::ListRequest request;
  request.set_tenant("default");
  v1::ListResponse response;
  return FromGrpcStatus(stub->List(&context, request, &response));
}

// The worker that held the session dies, another restores it: all of it over TLS.
TEST_F(TlsClusterTest, AConversationSurvivesItsWorker) {
  const std::vector<Turn> turns = TestTurns(2);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start(Options()));
  const Reply first = Say(cluster->gateway(), "s", turns[0]);
  ExpectSameReply(first, expected[0]);
  ASSERT_TRUE(WaitUntilPushed(cluster->gateway(), "s"));
  cluster->Kill(WorkerName(first.done.worker()));
  const Reply second = SayPatiently(cluster->gateway(), "s", turns[1]);
  ExpectSameReply(second, expected[1]);
  EXPECT_EQ(second.done.restore_source(), v1::CACHE_NODE);
  ExpectNothingLost(cluster->gateway(), "s", 2);
  for (const char* name : {"gateway", "cache-node"}) {
    EXPECT_EQ(cluster->Http(name, "/livez"), "ok\n");
    EXPECT_EQ(cluster->Http(name, "/readyz"), "ok\n");
    EXPECT_GT(cluster->Metric(name, "lckv_tls_certificate_expiry_timestamp_seconds"), 1.7e9);
  }
}

TEST_F(TlsClusterTest, OnlyComponentsReachWorkerAndCacheNode) {
  ClusterOptions options = Options();
  options.workers = 1;
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start(options));
  const std::string& worker = cluster->address("worker-1");
  const std::string& cache_node = cluster->address("cache-node");

  const KeyPair gateway = authority_.Sign({.names = {kGatewayRole}});
  EXPECT_OK(AskWorker(worker, Client(authority_, kWorkerRole, gateway)));
  EXPECT_OK(AskCacheNode(cache_node, Client(authority_, kCacheNodeRole, gateway)));

  const TestAuthority stranger("stranger");
  const std::pair<const char*, KeyPair> kOthers[] = {
      {"no certificate", {}},
      {"a tenant's, of the same authority", authority_.Sign({.names = {"tenant.example"}})},
      {"of another authority", stranger.Sign({.names = {kGatewayRole, kWorkerRole}})},
      {"expired", authority_.Sign({.names = {kGatewayRole, kWorkerRole},
                                   .begins = -absl::Hours(2),
                                   .ends = -absl::Hours(1)})},
  };
  for (const auto& [what, pair] : kOthers) {
    EXPECT_THAT(AskWorker(worker, Client(authority_, kWorkerRole, pair)),
                StatusIs(absl::StatusCode::kUnavailable))
        << what;
    EXPECT_THAT(AskCacheNode(cache_node, Client(authority_, kCacheNodeRole, pair)),
                StatusIs(absl::StatusCode::kUnavailable))
        << what;
  }
  EXPECT_THAT(AskWorker(worker, {}), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(AskCacheNode(cache_node, {}), StatusIs(absl::StatusCode::kUnavailable));
  // Workers have no business with each other.
  const KeyPair peer = authority_.Sign({.names = {kWorkerRole}});
  EXPECT_THAT(AskWorker(worker, Client(authority_, kWorkerRole, peer)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_OK(AskCacheNode(cache_node, Client(authority_, kCacheNodeRole, peer)));
}

TEST_F(TlsClusterTest, TheTool) {
  ClusterOptions options = Options();
  options.workers = 1;
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start(options));
  const std::string& server = cluster->address("gateway");
  const auto list = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"sessions", "list", "--server", server};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Lckv(arguments);
  };
  const Output chat =
      Lckv({"chat", "--server", server, "--tls-ca", folder_.Path("ca.crt"), "--tls-name",
            "api.example", "--session", "s", "--prompt", "Hello", "--max-tokens", "4"});
  EXPECT_EQ(chat.status, 0) << chat.text;
  const Output listed = list({"--tls-ca", folder_.Path("ca.crt"), "--tls-name", "api.example"});
  EXPECT_EQ(listed.status, 0) << listed.text;
  EXPECT_THAT(listed.text, HasSubstr("\ns "));

  const Output plain = list({});
  EXPECT_EQ(plain.status, 1);
  EXPECT_THAT(plain.text, HasSubstr("a server that speaks TLS wants --tls"));
  const Output other_name = list({"--tls-ca", folder_.Path("ca.crt")});
  EXPECT_EQ(other_name.status, 1);
  EXPECT_THAT(other_name.text, HasSubstr("UNAVAILABLE"));
  const Output no_file = list({"--tls-ca", folder_.Path("nowhere")});
  EXPECT_THAT(no_file.text, AllOf(HasSubstr("FAILED_PRECONDITION"), HasSubstr("nowhere")));
  EXPECT_THAT(list({"--tls-cert", folder_.Path("gateway.lckv.crt")}).text,
              HasSubstr("want --tls-cert and --tls-key"));
}

TEST_F(TlsClusterTest, NewCertificatesWithoutARestart) {
  ClusterOptions options = Options();
  options.workers = 1;
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start(options));
  const TestAuthority next("next");
  const std::vector<Turn> turns = TestTurns(2);
  ASSERT_OK(Say(cluster->gateway(), "s", turns[0]).status);
  const auto loads = [&](const std::string& name) {
    return cluster->Metric(name, "lckv_tls_loads_total{outcome=\"ok\",use=\"components\"}");
  };
  const auto all_loaded = [&](double times) {
    return WaitUntil([&] {
      return loads("cache-node") >= times && loads("worker-1") >= times &&
             loads("gateway") >= times;
    });
  };
  ASSERT_TRUE(all_loaded(1));
  folder_.Write("ca.crt", authority_.certificate() + next.certificate());
  ASSERT_TRUE(all_loaded(2));
  // A certificate of the next authority is now good everywhere, without anybody's restart.
  const KeyPair gateway = next.Sign({.names = {kGatewayRole}});
  EXPECT_TRUE(WaitUntil([&] {
    return AskWorker(cluster->address("worker-1"), Client(authority_, kWorkerRole, gateway)).ok();
  }));
  ExpectNothingLost(cluster->gateway(), "s", 1);
  ASSERT_OK(Say(cluster->gateway(), "s", turns[1]).status);
}

// What is wrong is said at start.
TEST_F(TlsClusterTest, FilesThatAreNotFit) {
  Options();
  const std::string role = kCacheNodeRole;
  const auto start = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"cache-node", "--listen", "127.0.0.1:0"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return Lckv(arguments);
  };
  const auto expect = [&](const std::vector<std::string>& flags, const char* code,
                          const char* what) {
    const Output output = start(flags);
    EXPECT_EQ(output.status, 1) << what;
    EXPECT_THAT(output.text, AllOf(HasSubstr(code), HasSubstr(what)));
  };
  expect({"--tls-cert", folder_.Path(role + ".crt")}, "--tls-cert", "all three");
  std::vector<std::string> flags = Flags(role);
  flags[1] = folder_.Path("nowhere");
  expect(flags, "FAILED_PRECONDITION", "nowhere: not readable");
  flags = Flags(role);
  flags[3] = folder_.Path("worker.lckv.key");
  expect(flags, "FAILED_PRECONDITION", "is not the key of");
  expect(Flags(kWorkerRole), "FAILED_PRECONDITION", "lacks the DNS name cache-node.lckv");
  WritePair(role,
            authority_.Sign({.names = {role}, .begins = -absl::Hours(2), .ends = -absl::Hours(1)}));
  expect(Flags(role), "FAILED_PRECONDITION", "expired at");
}

class KeysTest : public ::testing::Test {
 protected:
  void Start(const std::string& keys) {
    folder_.Write("keys.yaml", keys);
    auto started =
        Cluster::Start({.workers = 1, .gateway_flags = {"--api-keys", folder_.Path("keys.yaml")}});
    ASSERT_OK(started);
    cluster_ = *std::move(started);
  }
  // A new key, its entry appended to the file.
  std::string NewKey(const std::string& tenant) const {
    const Output output =
        Lckv({"api-key", "new", "--tenant", tenant, "--file", folder_.Path("keys.yaml")});
    EXPECT_EQ(output.status, 0) << output.text;
    return output.text.substr(0, output.text.find('\n'));
  }
  static Turn As(Turn turn, const std::string& key) {
    turn.api_key = key;
    return turn;
  }
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::Inference::Stub::*method)(grpc::ClientContext*,
                                                                const Request&, Response*),
                    const std::string& key, const std::string& session, Response* response) const {
    Request request;
    if constexpr (!std::is_same_v<Request, v1::ListSessionsRequest>) {
      request.set_session_id(session);
    }
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", key));
    return FromGrpcStatus((cluster_->gateway().*method)(&context, request, response));
  }
  std::vector<std::string> SessionsOf(const std::string& key) const {
    v1::ListSessionsResponse response;
    EXPECT_OK(Call(&v1::Inference::Stub::ListSessions, key, "", &response));
    std::vector<std::string> ids;
    for (const auto& session : response.sessions()) ids.push_back(session.session_id());
    return ids;
  }

  const TestFolder folder_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(KeysTest, TenantsDoNotSeeEachOther) {
  Start("[]\n");
  folder_.Write("keys.yaml", "");
  const std::string a = NewKey("a");
  const std::string b = NewKey("b");
  EXPECT_THAT(a, AllOf(::testing::StartsWith("lckv_"), ::testing::SizeIs(48)));
  EXPECT_NE(a, b);
  const std::vector<Turn> turns = TestTurns(2);
  // The gateway reads the file within a second.
  ASSERT_TRUE(WaitUntil([&] {
    v1::ListSessionsResponse response;
    return Call(&v1::Inference::Stub::ListSessions, b, "", &response).ok();
  }));
  const Reply first = Say(cluster_->gateway(), "s", As(turns[0], a));
  ASSERT_OK(first.status);
  EXPECT_THAT(SessionsOf(a), ::testing::ElementsAre("s"));
  EXPECT_THAT(SessionsOf(b), IsEmpty());
  const auto not_found = StatusIs(absl::StatusCode::kNotFound);
  v1::SessionInfo info;
  v1::CloseSessionResponse closed;
  EXPECT_THAT(Call(&v1::Inference::Stub::GetSession, b, "s", &info), not_found);
  EXPECT_THAT(Call(&v1::Inference::Stub::TouchSession, b, "s", &info), not_found);
  EXPECT_THAT(Call(&v1::Inference::Stub::CloseSession, b, "s", &closed), not_found);
  {
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", b));
    v1::GenerateRequest request;
    request.set_session_id("s");
    request.set_text("What did I say?");
    const auto reader = cluster_->gateway().Generate(&context, request);
    v1::GenerateResponse frame;
    while (reader->Read(&frame)) {
    }
    EXPECT_THAT(FromGrpcStatus(reader->Finish()), not_found);
  }
  // The same name and the same words are a session of its own, and no faster for the other one.
  const Reply same = Say(cluster_->gateway(), "s", As(turns[0], b));
  ExpectSameReply(same, first);
  EXPECT_EQ(same.done.version(), 1u);
  EXPECT_EQ(same.done.usage().cached_tokens(), 0u);
  EXPECT_OK(Call(&v1::Inference::Stub::CloseSession, b, "s", &closed));
  EXPECT_OK(Call(&v1::Inference::Stub::GetSession, a, "s", &info));
  ASSERT_OK(Say(cluster_->gateway(), "s", As(turns[1], a)).status);
  for (const std::string name : {"gateway", "worker-1", "cache-node"}) {
    EXPECT_THAT(cluster_->Log(name), AllOf(Not(HasSubstr(a)), Not(HasSubstr(b)))) << name;
  }
}

TEST_F(KeysTest, AKeyIsReplaced) {
  const std::string old_key = NewKey("a");
  std::ifstream file(folder_.Path("keys.yaml"));
  const std::string old_entry((std::istreambuf_iterator<char>(file)), {});
  Start(old_entry);
  const std::vector<Turn> turns = TestTurns(1);
  Turn long_turn = As(turns[0], old_key);
  long_turn.max_tokens = 600;
  const auto status_with = [&](const std::string& key) {
    v1::ListSessionsResponse response;
    return Call(&v1::Inference::Stub::ListSessions, key, "", &response);
  };
  {
    RunningTurn running(cluster_->gateway(), "s", long_turn);
    ASSERT_TRUE(running.ReadTokens(1));
    const std::string new_key = NewKey("a");
    ASSERT_TRUE(WaitUntil([&] { return status_with(new_key).ok(); }));
    EXPECT_OK(status_with(old_key));
    // A file that is being written by hand.
    folder_.Write("keys.yaml", old_entry + "- {tenant: ");
    ASSERT_TRUE(WaitUntil([&] {
      return cluster_->Metric("gateway", "lckv_gateway_api_key_loads_total{outcome=\"failed\"}") ==
             1;
    }));
    EXPECT_OK(status_with(new_key));
    folder_.Write("keys.yaml", "[]\n");
    ASSERT_TRUE(WaitUntil(
        [&] { return status_with(old_key).code() == absl::StatusCode::kUnauthenticated; }));
    EXPECT_EQ(ErrorReason(status_with(new_key)), "API_KEY_UNKNOWN");
    // What began before goes on.
    const Reply reply = running.Finish();
    EXPECT_OK(reply.status);
    EXPECT_EQ(reply.tokens.size(), 600u);
  }
  EXPECT_THAT(Say(cluster_->gateway(), "s", As(turns[0], old_key)).status,
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(KeysTest, TheTool) {
  const std::string key = NewKey("a");
  std::ifstream file(folder_.Path("keys.yaml"));
  Start(std::string((std::istreambuf_iterator<char>(file)), {}));
  const std::string& server = cluster_->address("gateway");
  const Output none = Lckv({"sessions", "list", "--server", server});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.text, AllOf(HasSubstr("UNAUTHENTICATED"), HasSubstr("LCKV_API_KEY")));
  EXPECT_EQ(Lckv({"sessions", "list", "--server", server, "--api-key", key}).status, 0);
  setenv("LCKV_API_KEY", key.c_str(), 1);
  const Output chat = Lckv(
      {"chat", "--server", server, "--session", "s", "--prompt", "Hello", "--max-tokens", "4"});
  unsetenv("LCKV_API_KEY");
  EXPECT_EQ(chat.status, 0) << chat.text;
  const Output wrong = Lckv({"api-key", "new", "--tenant", "a b"});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.text, HasSubstr("tenant: want"));
  const Output shown =
      Lckv({"api-key", "new", "--tenant", "c", "--name", "a's \"b\"", "--expires", "2200-01-01"});
  EXPECT_THAT(shown.text, AllOf(::testing::StartsWith("lckv_"), HasSubstr("\n- tenant: \"c\"\n"),
                                HasSubstr("\n  name: \"a's \\\"b\\\"\"\n")));
}

}  // namespace
}  // namespace lckv::testing
