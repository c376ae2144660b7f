#include "tests/testing/certificates.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/check.h"

namespace lckv::testing {
namespace {

template <typename Write>
std::string ToPem(Write write) {
  BIO* bio = BIO_new(BIO_s_mem());
  LCKV_CHECK(write(bio) == 1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  std::string pem(bytes, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

std::string ToPem(X509* certificate) {
  return ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

void AddExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  LCKV_CHECK(extension != nullptr);
  LCKV_CHECK(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Not signed yet.
X509* NewCertificate(const std::string& subject, EVP_PKEY* key, absl::Duration begins,
                     absl::Duration ends) {
  static int serial = 0;
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), absl::ToInt64Seconds(begins));
  X509_gmtime_adj(X509_getm_notAfter(certificate), absl::ToInt64Seconds(ends));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
  LCKV_CHECK(X509_set_pubkey(certificate, key) == 1);
  return certificate;
}

}  // namespace

struct TestAuthority::Pair {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = nullptr;
  ~Pair() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
};

TestAuthority::TestAuthority(const std::string& name) : pair_(std::make_unique<Pair>()) {
  X509* certificate = NewCertificate(name, pair_->key, -absl::Hours(1), absl::Hours(24));
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  LCKV_CHECK(X509_sign(certificate, pair_->key, EVP_sha256()) > 0);
  pair_->certificate = certificate;
  pem_ = ToPem(certificate);
}

TestAuthority::~TestAuthority() = default;

KeyPair TestAuthority::Sign(const CertificateRequest& request) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = NewCertificate("subject", key, request.begins, request.ends);
  X509_set_issuer_name(certificate, X509_get_subject_name(pair_->certificate));
  if (!request.names.empty()) {
    AddExtension(certificate, NID_subject_alt_name,
                 absl::StrCat("DNS:", absl::StrJoin(request.names, ",DNS:")));
  }
  AddExtension(certificate, NID_ext_key_usage, request.usage);
  LCKV_CHECK(X509_sign(certificate, pair_->key, EVP_sha256()) > 0);
  KeyPair pair = {ToPem(certificate), ToPem([&](BIO* bio) {
                    return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr,
                                                    nullptr);
                  })};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return pair;
}

TestFolder::TestFolder() : path_(absl::StrCat(::testing::TempDir(), "lckv-folder-XXXXXX")) {
  LCKV_CHECK(mkdtemp(path_.data()) != nullptr);
}

TestFolder::~TestFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string TestFolder::Path(absl::string_view name) const {
  return absl::StrCat(path_, "/", name);
}

std::string TestFolder::Write(absl::string_view name, absl::string_view text) const {
  const std::string path = Path(name);
  const std::string next = absl::StrCat(path, ".next");
  std::ofstream(next, std::ios::binary) << text;
  LCKV_CHECK(std::rename(next.c_str(), path.c_str()) == 0);
  return path;
}

}  // namespace lckv::testing
