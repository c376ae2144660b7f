#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace lckv {
namespace {

TEST(Sha256Test, VectorsOfFips180) {
  const struct {
    std::string text;
    const char* digest;
  } cases[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {std::string(1'000'000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& c : cases) EXPECT_EQ(ToHex(Sha256Of(c.text)), c.digest);
}

TEST(Sha256Test, PiecesGiveTheSameDigestAsTheWhole) {
  const std::string text(1000, 'x');
  for (size_t cut : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, text.size()}) {
    Sha256 hash;
    hash.Update(text.data(), cut);
    hash.Update(text.data() + cut, text.size() - cut);
    EXPECT_EQ(hash.Finish(), Sha256Of(text)) << cut;
  }
}

}  // namespace
}  // namespace lckv
