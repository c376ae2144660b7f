#include "rpc/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

// A bundle of every public authority is a fifth of this.
constexpr size_t kMaxFileBytes = 1 << 20;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Store = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;

void FreeStack(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
using Stack = std::unique_ptr<STACK_OF(X509), Freer<FreeStack>>;

absl::Status Wrong(absl::string_view file, absl::string_view what) {
  ERR_clear_error();
  return absl::FailedPreconditionError(absl::StrCat(file, ": ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string bytes(kMaxFileBytes + 1, '\0');
  if (!file || !(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())) ||
                 (file.eof() && !file.bad()))) {
    return Wrong(path, absl::StrCat("not readable: ", std::strerror(errno)));
  }
  bytes.resize(static_cast<size_t>(file.gcount()));
  if (bytes.size() > kMaxFileBytes) return Wrong(path, "larger than 1 MiB");
  return bytes;
}

Bio BioOf(absl::string_view bytes) {
  return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// Every certificate of a PEM text, in order; what is no certificate is skipped.
std::vector<Certificate> ParseCertificates(absl::string_view pem) {
  std::vector<Certificate> found;
  const Bio bio = BioOf(pem);
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(certificate);
  }
  ERR_clear_error();
  return found;
}

// There is nobody to ask for a password.
int NoPassword(char*, int, int, void*) { return -1; }

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTimeT(timegm(&parts));
}

std::vector<std::string> DnsNames(X509* certificate) {
  std::vector<std::string> found;
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    found.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  return found;
}

// Certificate and key of `pems`, and what is known about them.
absl::Status ReadPair(const TlsFiles& files, absl::Time now, TlsPems* pems) {
  LCKV_ASSIGN_OR_RETURN(pems->certificate, ReadFile(files.certificate));
  LCKV_ASSIGN_OR_RETURN(pems->key, ReadFile(files.key));
  const std::vector<Certificate> chain = ParseCertificates(pems->certificate);
  if (chain.empty()) return Wrong(files.certificate, "no PEM certificate in it");
  const Key key(PEM_read_bio_PrivateKey(BioOf(pems->key).get(), nullptr, &NoPassword, nullptr));
  if (key == nullptr) {
    return Wrong(files.key, "no PEM private key in it, or one that needs a password");
  }
  X509* leaf = chain.front().get();
  if (X509_check_private_key(leaf, key.get()) != 1) {
    return Wrong(files.key, absl::StrCat("is not the key of ", files.certificate));
  }
  pems->not_before = ToTime(X509_get0_notBefore(leaf));
  pems->not_after = ToTime(X509_get0_notAfter(leaf));
  if (now > pems->not_after) {
    return Wrong(files.certificate, absl::StrCat("expired at ", absl::FormatTime(pems->not_after)));
  }
  if (now < pems->not_before) {
    return Wrong(files.certificate,
                 absl::StrCat("is not valid before ", absl::FormatTime(pems->not_before)));
  }
  pems->dns_names = DnsNames(leaf);
  return absl::OkStatus();
}

// Why `leaf` is not good for `purpose`; empty if it is.
std::string FindFault(X509_STORE* trusted, X509* leaf, STACK_OF(X509) * between, int purpose,
                      absl::Time now) {
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), trusted, leaf, between);
  X509_STORE_CTX_set_purpose(context.get(), purpose);
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(now));
  if (X509_verify_cert(context.get()) == 1) return "";
  const std::string fault = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
  ERR_clear_error();
  return fault;
}

}  // namespace

absl::StatusOr<TlsPems> ReadTlsFiles(const TlsFiles& files, absl::Time now) {
  TlsPems pems;
  pems.not_before = absl::InfinitePast();
  pems.not_after = absl::InfiniteFuture();
  if (!files.certificate.empty()) LCKV_RETURN_IF_ERROR(ReadPair(files, now, &pems));
  if (!files.authority.empty()) {
    LCKV_ASSIGN_OR_RETURN(pems.authority, ReadFile(files.authority));
    if (ParseCertificates(pems.authority).empty()) {
      return Wrong(files.authority, "no PEM certificate in it");
    }
  }
  return pems;
}

absl::Status CheckComponent(const TlsPems& pems, absl::string_view role, absl::Time now) {
  const Store trusted(X509_STORE_new());
  for (const Certificate& authority : ParseCertificates(pems.authority)) {
    X509_STORE_add_cert(trusted.get(), authority.get());
  }
  std::vector<Certificate> chain = ParseCertificates(pems.certificate);
  const Stack between(sk_X509_new_null());
  for (size_t i = 1; i < chain.size(); ++i) sk_X509_push(between.get(), chain[i].release());
  for (const auto& [purpose, side] : {std::pair(X509_PURPOSE_SSL_SERVER, "server"),
                                      std::pair(X509_PURPOSE_SSL_CLIENT, "client")}) {
    const std::string fault =
        FindFault(trusted.get(), chain.front().get(), between.get(), purpose, now);
    if (!fault.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("the certificate is not good for a ", side,
                                                        " under the given authority: ", fault));
    }
  }
  if (std::find(pems.dns_names.begin(), pems.dns_names.end(), role) == pems.dns_names.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the certificate lacks the DNS name ", role, ", by which peers know it"));
  }
  return absl::OkStatus();
}

}  // namespace lckv
