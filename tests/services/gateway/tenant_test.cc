// API keys: the file, and who is let in.

#include "services/gateway/tenant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/gateway/gateway_metric_table.h"
#include "tests/services/gateway/gateway_fixture.h"
#include "tests/testing/certificates.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// SHA-256 of "secret" and of "other".
constexpr char kSecret[] = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
constexpr char kOther[] = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

std::string Entry(absl::string_view tenant, absl::string_view sha256, absl::string_view more = "") {
  return absl::StrCat("- {tenant: ", tenant, ", sha256: ", sha256, more, "}\n");
}

TEST(ApiKeysTest, FindsAKeyByItsHash) {
  ASSERT_OK_AND_ASSIGN(const ApiKeys keys, ApiKeys::Parse(absl::StrCat(
                                               "# of 2026\n", Entry("acme", kSecret),
                                               Entry("b.2_x-Y", kOther, ", name: \"the ci\""))));
  EXPECT_EQ(keys.size(), 2u);
  ASSERT_NE(keys.Find("secret"), nullptr);
  EXPECT_EQ(keys.Find("secret")->tenant, "acme");
  EXPECT_EQ(keys.Find("secret")->expires, absl::InfiniteFuture());
  EXPECT_EQ(keys.Find("other")->tenant, "b.2_x-Y");
  EXPECT_EQ(keys.Find("other")->name, "the ci");
  for (const char* wrong : {"", "secre", "secret ", "Secret", kSecret}) {
    EXPECT_EQ(keys.Find(wrong), nullptr) << wrong;
  }
}

TEST(ApiKeysTest, Times) {
  const auto expiry = [](absl::string_view text) -> absl::StatusOr<absl::Time> {
    const auto keys = ApiKeys::Parse(Entry("a", kSecret, absl::StrCat(", expires: ", text)));
    if (!keys.ok()) return keys.status();
    return keys->Find("secret")->expires;
  };
  const absl::Time day = absl::FromCivil(absl::CivilDay(2027, 1, 31), absl::UTCTimeZone());
  EXPECT_EQ(expiry("2027-01-31").value(), day);
  EXPECT_EQ(expiry("2027-01-31T12:00:00Z").value(), day + absl::Hours(12));
  EXPECT_EQ(expiry("\"2027-01-31T12:00:00+02:00\"").value(), day + absl::Hours(10));
  for (const char* wrong : {"tomorrow", "2027-13-01", "2027", "\"\""}) {
    EXPECT_THAT(expiry(wrong), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expires")))
        << wrong;
  }
}

TEST(ApiKeysTest, NobodyIsAnAnswerButNothingIsNot) {
  ASSERT_OK_AND_ASSIGN(const ApiKeys none, ApiKeys::Parse("[]"));
  EXPECT_EQ(none.size(), 0u);
  for (const char* text : {"", "# all gone\n", "keys: []", "text"}) {
    EXPECT_THAT(ApiKeys::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("want a list")))
        << text;
  }
}

TEST(ApiKeysTest, NamesLineAndFault) {
  const std::string good = Entry("a", kSecret);
  const struct {
    std::string second;
    const char* what;
  } kCases[] = {
      {Entry("a b", kOther), "tenant: want"},
      {Entry("\"\"", kOther), "tenant: want text"},
      {Entry(std::string(65, 't'), kOther), "tenant: want"},
      {Entry("a", "abcd"), "sha256: want 64"},
      {Entry("a", std::string(64, 'g')), "sha256: want 64"},
      {Entry("a", kSecret), "the sha256 of an entry before it"},
      {Entry("a", kOther, ", tenent: b"), "'tenent' is not tenant, sha256, name or expires"},
      {Entry("a", kOther, ", name: [x]"), "name: want text"},
      {Entry("a", kOther, ", tenant: b"), "tenant twice"},
      {"- {tenant: a}\n", "no sha256"},
      {absl::StrCat("- {sha256: ", kOther, "}\n"), "no tenant"},
      {"- text\n", "want tenant and sha256"},
      {"- {tenant: a\n", ""},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(ApiKeys::Parse(good + test.second),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("line "), HasSubstr(test.what))))
        << test.second;
  }
  EXPECT_THAT(ApiKeys::Parse(good + good),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2")));
}

class TenantsTest : public ::testing::Test {
 protected:
  void Open(absl::string_view text) {
    folder_.Write("keys.yaml", text);
    auto opened = Tenants::Open(folder_.Path("keys.yaml"), absl::Milliseconds(5), &registry_);
    ASSERT_OK(opened);
    tenants_ = *std::move(opened);
  }
  // "refused: REASON", or the tenant.
  std::string Ask(absl::string_view header) const {
    const absl::StatusOr<std::string> tenant = tenants_->TenantOfHeader(header);
    if (tenant.ok()) return *tenant;
    EXPECT_EQ(tenant.status().code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(tenant.status().message(), ::testing::Not(HasSubstr("secret")));
    return ErrorReason(tenant.status());
  }
  bool Exposes(absl::string_view line) const {
    return absl::StrContains(registry_.Serialize(), absl::StrCat("\n", line, "\n"));
  }
  bool Becomes(absl::string_view header, absl::string_view answer) const {
    return WaitUntil([&] { return Ask(header) == answer; });
  }
  static bool WaitUntil(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  }

  const lckv::testing::TestFolder folder_;
  MetricsRegistry registry_{GatewayMetricTable()};
  std::unique_ptr<Tenants> tenants_;
};

TEST_F(TenantsTest, Headers) {
  Open(Entry("acme", kSecret));
  EXPECT_EQ(Ask("Bearer secret"), "acme");
  EXPECT_EQ(Ask("bearer  secret "), "acme");
  EXPECT_EQ(Ask("Bearer other"), kReasonUnknownApiKey);
  EXPECT_EQ(Ask("Bearer "), kReasonUnknownApiKey);
  EXPECT_EQ(Ask("Basic secret"), kReasonNoApiKey);
  EXPECT_EQ(Ask("secret"), kReasonNoApiKey);
  EXPECT_EQ(Ask(""), kReasonNoApiKey);
}

TEST_F(TenantsTest, AnExpiredKey) {
  Open(Entry("a", kSecret, ", expires: 2020-01-01") + Entry("b", kOther, ", expires: 2200-01-01"));
  EXPECT_EQ(Ask("Bearer secret"), kReasonExpiredApiKey);
  EXPECT_EQ(Ask("Bearer other"), "b");
}

TEST_F(TenantsTest, TheFileIsReadAgain) {
  Open(Entry("a", kSecret));
  EXPECT_TRUE(Exposes("lckv_gateway_api_keys 1"));
  folder_.Write("keys.yaml", Entry("a", kSecret) + Entry("b", kOther));
  EXPECT_TRUE(Becomes("Bearer other", "b"));
  EXPECT_EQ(Ask("Bearer secret"), "a");
  folder_.Write("keys.yaml", Entry("b", kOther));
  EXPECT_TRUE(Becomes("Bearer secret", kReasonUnknownApiKey));
  EXPECT_EQ(Ask("Bearer other"), "b");
  EXPECT_TRUE(Exposes("lckv_gateway_api_key_loads_total{outcome=\"ok\"} 3"));
  EXPECT_TRUE(Exposes("lckv_gateway_api_key_loads_total{outcome=\"failed\"} 0"));
}

TEST_F(TenantsTest, ABrokenFileChangesNothing) {
  Open(Entry("a", kSecret));
  folder_.Write("keys.yaml", "- {tenant: b");
  ASSERT_TRUE(
      WaitUntil([&] { return Exposes("lckv_gateway_api_key_loads_total{outcome=\"failed\"} 1"); }));
  // Looked at many times, counted once.
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_TRUE(Exposes("lckv_gateway_api_key_loads_total{outcome=\"failed\"} 1"));
  EXPECT_EQ(Ask("Bearer secret"), "a");
  ASSERT_EQ(unlink(folder_.Path("keys.yaml").c_str()), 0);
  ASSERT_TRUE(
      WaitUntil([&] { return Exposes("lckv_gateway_api_key_loads_total{outcome=\"failed\"} 2"); }));
  EXPECT_EQ(Ask("Bearer secret"), "a");
  folder_.Write("keys.yaml", Entry("b", kOther));
  EXPECT_TRUE(Becomes("Bearer other", "b"));
}

TEST_F(TenantsTest, ABrokenFileAtStart) {
  const std::string path = folder_.Path("keys.yaml");
  EXPECT_THAT(Tenants::Open(path, absl::Seconds(1), &registry_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path), HasSubstr("No such file"))));
  folder_.Write("keys.yaml", "- {tenant: b");
  EXPECT_THAT(Tenants::Open(path, absl::Seconds(1), &registry_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
}

// A whole gateway with keys of two tenants.
class GatewayKeysTest : public GatewayFixture {
 protected:
  void SetUp() override {
    options_.api_keys = folder_.Write("keys.yaml", Entry("acme", kSecret) + Entry("b", kOther));
    worker_ = &AddWorker("worker");
    StartGateway();
  }
  Turn GenerateAs(const std::vector<std::string>& authorizations) {
    grpc::ClientContext context;
    for (const std::string& value : authorizations) context.AddMetadata("authorization", value);
    return Drain(*stub_->Generate(&context, Request("s", 3)));
  }

  const lckv::testing::TestFolder folder_;
  FakeWorker* worker_ = nullptr;
};

TEST_F(GatewayKeysTest, TheWorkerGetsTheTenantOfTheKey) {
  EXPECT_OK(GenerateAs({"Bearer secret"}).status);
  EXPECT_OK(GenerateAs({"Bearer other"}).status);
  ASSERT_EQ(worker_->requests().size(), 2u);
  EXPECT_EQ(worker_->requests()[0].tenant(), "acme");
  EXPECT_EQ(worker_->requests()[1].tenant(), "b");
}

TEST_F(GatewayKeysTest, WithoutAGoodKeyNothingReachesAWorker) {
  for (const auto& authorizations :
       {std::vector<std::string>{}, {"Bearer nonsense"}, {"Bearer secret", "Bearer other"}}) {
    EXPECT_THAT(GenerateAs(authorizations).status, StatusIs(absl::StatusCode::kUnauthenticated));
  }
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  const absl::Status status = FromGrpcStatus(stub_->ListModels(&context, {}, &response));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(ErrorReason(status), kReasonNoApiKey);
  EXPECT_TRUE(worker_->requests().empty());
  EXPECT_TRUE(worker_->unary_calls().empty());
}

// Who may not ask does not learn what would be a good question.
TEST_F(GatewayKeysTest, TheKeyIsLookedAtFirst) {
  grpc::ClientContext context;
  v1::GenerateRequest bad;
  EXPECT_THAT(Drain(*stub_->Generate(&context, bad)).status,
              StatusIs(absl::StatusCode::kUnauthenticated));
}

}  // namespace
}  // namespace lckv::gateway
