// TLS between real servers and channels: who gets in, and what happens when files change.

#include "rpc/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "absl/time/clock.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/channel.h"
#include "rpc/status_conversion.h"
#include "services/common/server_runner.h"
#include "services/common/tls_setup.h"
#include "tests/testing/certificates.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::KeyPair;
using testing::StatusIs;
using testing::TestAuthority;

class EchoService final : public v1::Worker::CallbackService {
 public:
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest*, v1::TokenizeResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// The files of one identity.
class IdentityFiles {
 public:
  IdentityFiles(const TestAuthority& authority, const std::string& name)
      : IdentityFiles(authority.Sign({.names = {name}}), authority.certificate()) {}
  IdentityFiles(const KeyPair& pair, const std::string& authority) { Replace(pair, authority); }

  void Replace(const KeyPair& pair, const std::string& authority) {
    files_ = {folder_.Write("tls.crt", pair.certificate), folder_.Write("tls.key", pair.key),
              folder_.Write("ca.crt", authority)};
  }
  const testing::TestFolder& folder() const { return folder_; }
  std::unique_ptr<TlsIdentity> Load(const std::string& role = "") const {
    TlsOptions options;
    options.files = files_;
    options.role = role;
    options.refresh = absl::Milliseconds(10);
    auto identity = TlsIdentity::Load(options);
    EXPECT_OK(identity);
    return *std::move(identity);
  }

 private:
  const testing::TestFolder folder_;
  TlsFiles files_;
};

// A client that is none of our components. Empty: no certificate.
ChannelSecurity OutsideClient(const TestAuthority& trusted, const std::string& server_name,
                              const KeyPair& own = {}) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = trusted.certificate();
  options.pem_private_key = own.key;
  options.pem_cert_chain = own.certificate;
  return {grpc::SslCredentials(options), server_name};
}

class TlsTest : public ::testing::Test {
 protected:
  void Serve(std::shared_ptr<grpc::ServerCredentials> credentials) {
    ServerOptions options;
    options.credentials = std::move(credentials);
    auto started = ServerRunner::Start(options, {{v1::Worker::service_full_name(), &service_}});
    ASSERT_OK(started);
    runner_ = *std::move(started);
  }
  void ServeAsWorker() {
    identity_ = worker_.Load(kWorkerRole);
    Serve(identity_->ServerCredentialsFor({kGatewayRole}));
  }
  void ServePublicly(const TestAuthority& authority, const std::string& name,
                     bool want_certificate) {
    worker_.Replace(authority.Sign({.names = {name}}), authority.certificate());
    identity_ = worker_.Load();
    Serve(identity_->PublicServerCredentials(want_certificate));
  }

  // One call over a connection of its own.
  absl::Status Call(const ChannelSecurity& security) {
    const auto stub = v1::Worker::NewStub(MakeChannel(runner_->address(), security));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    v1::TokenizeResponse response;
    return FromGrpcStatus(stub->Tokenize(&context, {}, &response));
  }
  static auto Refused(const std::string& why = "") {
    return StatusIs(absl::StatusCode::kUnavailable, HasSubstr(why));
  }
  template <typename Condition>
  static bool WaitUntil(Condition condition) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return true;
  }

  const TestAuthority authority_;
  const TestAuthority stranger_{"stranger"};
  IdentityFiles worker_{authority_, kWorkerRole};
  IdentityFiles gateway_{authority_, kGatewayRole};
  EchoService service_;
  // Before the server, which uses it.
  std::unique_ptr<TlsIdentity> identity_;
  std::unique_ptr<ServerRunner> runner_;
};

TEST_F(TlsTest, PeersOfTheRightRoles) {
  ServeAsWorker();
  const auto gateway = gateway_.Load(kGatewayRole);
  EXPECT_OK(Call(gateway->ChannelSecurityFor(kWorkerRole)));
}

TEST_F(TlsTest, ACallerWithoutACertificate) {
  ServeAsWorker();
  EXPECT_THAT(Call(OutsideClient(authority_, kWorkerRole)), Refused());
}

TEST_F(TlsTest, ACallerOfAnotherAuthority) {
  ServeAsWorker();
  const KeyPair pair = stranger_.Sign({.names = {kGatewayRole}});
  EXPECT_THAT(Call(OutsideClient(authority_, kWorkerRole, pair)), Refused());
}

TEST_F(TlsTest, ACallerWithAnotherRole) {
  ServeAsWorker();
  // A tenant's certificate may well come from the same authority.
  for (const std::string name : {"tenant.example", "cache-node.lckv", "worker.lckv"}) {
    const KeyPair pair = authority_.Sign({.names = {name}});
    EXPECT_THAT(Call(OutsideClient(authority_, kWorkerRole, pair)), Refused()) << name;
  }
  const KeyPair pair = authority_.Sign({.names = {"g.example", kGatewayRole}});
  EXPECT_OK(Call(OutsideClient(authority_, kWorkerRole, pair)));
}

TEST_F(TlsTest, AServerWithAnotherRole) {
  ServeAsWorker();
  const auto gateway = gateway_.Load(kGatewayRole);
  EXPECT_THAT(Call(gateway->ChannelSecurityFor(kCacheNodeRole)),
              Refused("lacks the DNS name cache-node.lckv"));
}

TEST_F(TlsTest, AServerOfAnotherAuthority) {
  ServePublicly(stranger_, kWorkerRole, /*want_certificate=*/false);
  const auto gateway = gateway_.Load(kGatewayRole);
  EXPECT_THAT(Call(gateway->ChannelSecurityFor(kWorkerRole)), Refused("certificate verify failed"));
}

TEST_F(TlsTest, PlainTextAndTlsDoNotMix) {
  ServeAsWorker();
  EXPECT_THAT(Call({}), Refused());
  Serve(nullptr);
  const auto gateway = gateway_.Load(kGatewayRole);
  EXPECT_THAT(Call(gateway->ChannelSecurityFor(kWorkerRole)), Refused("wrong version number"));
  EXPECT_OK(Call({}));
}

TEST_F(TlsTest, ThePublicListenerIsKnownByItsHost) {
  ServePublicly(authority_, "api.example", /*want_certificate=*/false);
  EXPECT_OK(Call(OutsideClient(authority_, "api.example")));
  EXPECT_THAT(Call(OutsideClient(authority_, "other.example")), Refused());
  EXPECT_THAT(Call(OutsideClient(authority_, "")), Refused());
  EXPECT_THAT(Call(OutsideClient(stranger_, "api.example")), Refused("certificate verify failed"));
}

TEST_F(TlsTest, ThePublicListenerMayWantCertificates) {
  ServePublicly(authority_, "api.example", /*want_certificate=*/true);
  EXPECT_THAT(Call(OutsideClient(authority_, "api.example")), Refused());
  EXPECT_THAT(Call(OutsideClient(authority_, "api.example", stranger_.Sign({}))), Refused());
  EXPECT_OK(Call(OutsideClient(authority_, "api.example", authority_.Sign({}))));
}

// The authority is replaced without a restart of anybody: first both are trusted, then the
// certificates change, then the former authority goes.
TEST_F(TlsTest, CertificatesAndAuthorityAreReplaced) {
  ServeAsWorker();
  const auto gateway = gateway_.Load(kGatewayRole);
  const ChannelSecurity caller = gateway->ChannelSecurityFor(kWorkerRole);
  ASSERT_OK(Call(caller));
  const TestAuthority next("next");
  const std::string both = authority_.certificate() + next.certificate();
  const KeyPair new_worker = next.Sign({.names = {kWorkerRole}});
  const KeyPair new_gateway = next.Sign({.names = {kGatewayRole}});

  worker_.folder().Write("ca.crt", both);
  gateway_.folder().Write("ca.crt", both);
  // The worker is seen to trust the next authority.
  ASSERT_TRUE(
      WaitUntil([&] { return Call(OutsideClient(authority_, kWorkerRole, new_gateway)).ok(); }));
  ASSERT_TRUE(WaitUntil([&] { return Call(caller).ok(); }));
  worker_.Replace(new_worker, both);
  gateway_.Replace(new_gateway, both);
  ASSERT_TRUE(WaitUntil([&] { return Call(OutsideClient(next, kWorkerRole, new_gateway)).ok(); }));
  ASSERT_TRUE(WaitUntil([&] { return Call(caller).ok(); }));
  worker_.Replace(new_worker, next.certificate());
  gateway_.Replace(new_gateway, next.certificate());
  const KeyPair old_gateway = authority_.Sign({.names = {kGatewayRole}});
  ASSERT_TRUE(WaitUntil([&] { return !Call(OutsideClient(next, kWorkerRole, old_gateway)).ok(); }));
  EXPECT_TRUE(WaitUntil([&] { return Call(caller).ok(); }));
}

TEST_F(TlsTest, ABrokenReplacementIsNotTaken) {
  ServeAsWorker();
  MetricsRegistry registry;
  registry.Add(TlsMetricTable());
  ConnectTlsMetrics(identity_.get(), "components", &registry);
  const auto count = [&](const std::string& outcome) {
    const std::string name =
        "lckv_tls_loads_total{outcome=\"" + outcome + "\",use=\"components\"} ";
    const std::string text = registry.Serialize();
    const size_t found = text.find(name);
    return found == std::string::npos ? -1 : std::atoi(text.c_str() + found + name.size());
  };
  EXPECT_EQ(count("ok"), 1);
  const auto gateway = gateway_.Load(kGatewayRole);
  const ChannelSecurity caller = gateway->ChannelSecurityFor(kWorkerRole);

  const KeyPair next = authority_.Sign({.names = {kWorkerRole}});
  worker_.folder().Write("tls.crt", next.certificate);
  ASSERT_TRUE(WaitUntil([&] { return count("failed") == 1; }));
  // Longer than gRPC takes to pick up what is published.
  absl::SleepFor(absl::Milliseconds(1500));
  EXPECT_OK(Call(caller));
  EXPECT_EQ(count("failed"), 1);  // the same fault counts once
  worker_.folder().Write("tls.key", next.key);
  ASSERT_TRUE(WaitUntil([&] { return count("ok") == 2; }));
  EXPECT_OK(Call(caller));
  EXPECT_EQ(count("failed"), 1);
  EXPECT_THAT(registry.Serialize(),
              HasSubstr("lckv_tls_certificate_expiry_timestamp_seconds{use=\"components\"} 1"));
  // Ends before what its listener counts in.
  runner_.reset();
  identity_.reset();
}

TEST(TlsSetupTest, AllThreeFilesOrNone) {
  EXPECT_OK(CheckTlsFlags({}));
  EXPECT_OK(CheckTlsFlags({"a", "b", "c"}));
  for (const TlsFiles& files : {TlsFiles{"a", "b", ""}, TlsFiles{"a", "", "c"},
                                TlsFiles{"", "b", "c"}, TlsFiles{"", "", "c"}}) {
    EXPECT_THAT(LoadComponentTls(files, kWorkerRole),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all three")));
  }
  ASSERT_OK_AND_ASSIGN(const auto none, LoadComponentTls({}, kWorkerRole));
  EXPECT_EQ(none, nullptr);
  EXPECT_THAT(LoadComponentTls({"/a", "/b", "/c"}, kWorkerRole),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/a: not readable")));
}

}  // namespace
}  // namespace lckv
