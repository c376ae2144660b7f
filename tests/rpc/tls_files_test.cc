#include "rpc/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "tests/testing/certificates.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::AllOf;
using testing::CertificateRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::KeyPair;
using testing::StatusIs;
using testing::TestAuthority;

class TlsFilesTest : public ::testing::Test {
 protected:
  void Use(const KeyPair& pair) {
    files_.certificate = folder_.Write("tls.crt", pair.certificate);
    files_.key = folder_.Write("tls.key", pair.key);
    files_.authority = folder_.Write("ca.crt", authority_.certificate());
  }
  absl::Status Read() { return ReadTlsFiles(files_, absl::Now()).status(); }
  absl::Status Check(absl::string_view role) {
    const absl::StatusOr<TlsPems> pems = ReadTlsFiles(files_, absl::Now());
    return pems.ok() ? CheckComponent(*pems, role, absl::Now()) : pems.status();
  }
  static auto Fails(const std::string& file, const std::string& what) {
    return StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr(file), HasSubstr(what)));
  }

  const testing::TestFolder folder_;
  const TestAuthority authority_;
  TlsFiles files_;
};

TEST_F(TlsFilesTest, ReadsWhatIsThere) {
  const KeyPair pair = authority_.Sign({.names = {"worker.lckv", "w.example"}});
  Use(pair);
  ASSERT_OK_AND_ASSIGN(const TlsPems pems, ReadTlsFiles(files_, absl::Now()));
  EXPECT_EQ(pems.certificate, pair.certificate);
  EXPECT_EQ(pems.key, pair.key);
  EXPECT_EQ(pems.authority, authority_.certificate());
  EXPECT_THAT(pems.dns_names, ElementsAre("worker.lckv", "w.example"));
  const absl::Duration left = pems.not_after - absl::Now();
  EXPECT_GT(left, absl::Minutes(59));
  EXPECT_LE(left, absl::Minutes(60));
  EXPECT_OK(CheckComponent(pems, "worker.lckv", absl::Now()));
}

TEST_F(TlsFilesTest, AnAuthorityAlone) {
  files_.authority = folder_.Write("ca.crt", authority_.certificate());
  EXPECT_OK(Read());
}

TEST_F(TlsFilesTest, EachFileThatIsNotThere) {
  const KeyPair pair = authority_.Sign({});
  for (std::string TlsFiles::*file :
       {&TlsFiles::certificate, &TlsFiles::key, &TlsFiles::authority}) {
    Use(pair);
    files_.*file = folder_.Path("nowhere");
    EXPECT_THAT(Read(), Fails("nowhere", "not readable: No such file"));
    files_.*file = folder_.Path("");  // a folder
    EXPECT_THAT(Read(), Fails(folder_.Path(""), "not readable"));
    files_.*file = folder_.Write("text", "what?");
    EXPECT_THAT(Read(), Fails("text", "no PEM"));
    files_.*file = folder_.Write("large", std::string((1 << 20) + 1, 'x'));
    EXPECT_THAT(Read(), Fails("large", "larger than 1 MiB"));
  }
}

TEST_F(TlsFilesTest, AKeyOfAnotherCertificate) {
  Use({authority_.Sign({}).certificate, authority_.Sign({}).key});
  EXPECT_THAT(Read(), Fails("tls.key", "is not the key of"));
}

TEST_F(TlsFilesTest, OutsideOfItsTime) {
  Use(authority_.Sign({.begins = -absl::Hours(2), .ends = -absl::Hours(1)}));
  EXPECT_THAT(Read(), Fails("tls.crt", "expired at 20"));
  Use(authority_.Sign({.begins = absl::Hours(1), .ends = absl::Hours(2)}));
  EXPECT_THAT(Read(), Fails("tls.crt", "is not valid before 20"));
}

TEST_F(TlsFilesTest, AComponentHasItsRole) {
  Use(authority_.Sign({.names = {"gateway.lckv"}}));
  EXPECT_OK(Check("gateway.lckv"));
  EXPECT_THAT(Check("worker.lckv"), Fails("lacks the DNS name", "worker.lckv"));
}

TEST_F(TlsFilesTest, AComponentIsOfItsAuthority) {
  Use(TestAuthority("stranger").Sign({.names = {"worker.lckv"}}));
  EXPECT_THAT(Check("worker.lckv"), Fails("under the given authority", "issuer"));
  // The same name is not enough.
  Use(TestAuthority("authority").Sign({.names = {"worker.lckv"}}));
  EXPECT_THAT(Check("worker.lckv"), Fails("under the given authority", "signature"));
}

TEST_F(TlsFilesTest, AnyAuthorityOfABundle) {
  const TestAuthority next("next");
  const std::string bundle = authority_.certificate() + next.certificate();
  for (const TestAuthority* signer : {&authority_, &next}) {
    Use(signer->Sign({.names = {"worker.lckv"}}));
    files_.authority = folder_.Write("ca.crt", bundle);
    EXPECT_OK(Check("worker.lckv"));
  }
}

TEST_F(TlsFilesTest, AComponentIsServerAndClient) {
  Use(authority_.Sign({.names = {"worker.lckv"}, .usage = "serverAuth"}));
  EXPECT_THAT(Check("worker.lckv"), Fails("not good for a client", "purpose"));
  Use(authority_.Sign({.names = {"worker.lckv"}, .usage = "clientAuth"}));
  EXPECT_THAT(Check("worker.lckv"), Fails("not good for a server", "purpose"));
}

}  // namespace
}  // namespace lckv
