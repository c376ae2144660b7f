#include "engine/tokenizer/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/byte_level.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using Json = nlohmann::json;
using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// a=0 b=1 "Ġ"=2 ab=3 <s>=4 (special).
Json Minimal() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
    "added_tokens": [{"id": 4, "content": "<s>", "special": true, "lstrip": false}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3}, "merges": [["a", "b"]]}
  })");
}

absl::StatusOr<std::unique_ptr<BpeTokenizer>> Build(const std::string& text) {
  LCKV_ASSIGN_OR_RETURN(TokenizerDefinition definition, ReadTokenizerJson(text));
  return BpeTokenizer::Create(std::move(definition));
}

std::vector<int32_t> Encode(const Tokenizer& tokenizer, absl::string_view text,
                            Tokenizer::EncodeOptions options = {}) {
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text, options);
  EXPECT_OK(ids);
  return ids.ok() ? *ids : std::vector<int32_t>();
}

// `Minimal` with the value at a JSON pointer replaced.
std::string With(const std::string& pointer, const std::string& value) {
  Json json = Minimal();
  json[Json::json_pointer(pointer)] = Json::parse(value);
  return json.dump();
}

TEST(TokenizerJson, Minimal) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Build(Minimal().dump()));
  EXPECT_EQ(tokenizer->vocab_size(), 5);
  EXPECT_EQ(tokenizer->bos_token(), -1);
  EXPECT_TRUE(tokenizer->IsSpecial(4));
  EXPECT_FALSE(tokenizer->IsSpecial(3));
  EXPECT_FALSE(tokenizer->IsSpecial(5));
  EXPECT_EQ(tokenizer->FindToken("<s>"), 4);
  EXPECT_EQ(tokenizer->FindToken(" "), 2);
  EXPECT_EQ(tokenizer->FindToken("z"), -1);
  EXPECT_EQ(tokenizer->TokenBytes(2), " ");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(5), "");
  EXPECT_THAT(Encode(*tokenizer, "ab ab<s>", {.add_special = true, .parse_special = true}),
              ElementsAre(3, 2, 3, 4));
  EXPECT_THAT(tokenizer->Decode({0, 5}, false),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("ids[1] = 5")));
  EXPECT_THAT(tokenizer->Decode({-1}, false), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(TokenizerJson, MergesAsStringsAndModelWithoutType) {
  Json json = Minimal();
  json["model"]["merges"] = {"a b"};
  json["model"].erase("type");
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Build(json.dump()));
  EXPECT_THAT(Encode(*tokenizer, "ab"), ElementsAre(3));
}

TEST(TokenizerJson, TemplatePutsTokensAround) {
  const std::string template_json = R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "end", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]},
                         "end": {"id": "end", "ids": [1, 0], "tokens": ["b", "a"]}}})";
  for (const std::string& post_processor :
       {template_json,
        R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, )" + template_json + "]}"}) {
    ASSERT_OK_AND_ASSIGN(const auto tokenizer, Build(With("/post_processor", post_processor)));
    EXPECT_EQ(tokenizer->bos_token(), 4);
    EXPECT_THAT(Encode(*tokenizer, "ab", {.add_special = true}), ElementsAre(4, 3, 1, 0));
    EXPECT_THAT(Encode(*tokenizer, "ab"), ElementsAre(3));
  }
}

TEST(TokenizerJson, AddedTokensThatAreNotSpecialAlwaysMatch) {
  ASSERT_OK_AND_ASSIGN(
      const auto tokenizer,
      Build(With("/added_tokens/1", R"({"id": 5, "content": "a a", "special": false})")));
  EXPECT_THAT(Encode(*tokenizer, "ba a<s>"), ElementsAre(1, 5));
  EXPECT_THAT(tokenizer->Decode({1, 5, 4}, /*skip_special=*/true).value(), "ba a");
}

TEST(TokenizerJson, IgnoreMergesTakesWholePretokens) {
  Json json = Minimal();
  json["model"]["vocab"]["ba"] = 5;
  ASSERT_OK_AND_ASSIGN(const auto merging, Build(json.dump()));
  EXPECT_THAT(Encode(*merging, "ba"), ElementsAre(1, 0));
  json["model"]["ignore_merges"] = true;
  ASSERT_OK_AND_ASSIGN(const auto whole, Build(json.dump()));
  EXPECT_THAT(Encode(*whole, "ba"), ElementsAre(5));
}

TEST(TokenizerJson, PlainTextNeverBecomesASpecialToken) {
  Json json = Minimal();
  json["model"]["ignore_merges"] = true;
  json["added_tokens"][0] = {{"id", 3}, {"content", "ab"}, {"special", true}};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Build(json.dump()));
  EXPECT_THAT(Encode(*tokenizer, "ab"), ElementsAre(0, 1));
  EXPECT_THAT(Encode(*tokenizer, "ab", {.parse_special = true}), ElementsAre(3));
}

TEST(TokenizerJson, IdsBetweenTokensDecodeToNothing) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Build(With("/model/vocab/c", "9")));
  EXPECT_EQ(tokenizer->vocab_size(), 10);
  EXPECT_EQ(tokenizer->Decode({0, 7, 1}, false).value(), "ab");
}

TEST(TokenizerJson, AnUnknownTokenThatNoByteNeedsIsFine) {
  Json json = Minimal();
  json["model"]["unk_token"] = "<s>";
  EXPECT_THAT(Build(json.dump()),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("unk_token")));
  for (int byte = 0; byte < 256; ++byte) {
    json["model"]["vocab"].emplace(ByteLevelCharacter(static_cast<uint8_t>(byte)), 10 + byte);
  }
  EXPECT_OK(Build(json.dump()));
}

TEST(TokenizerJson, ATextThatIsTooLongIsRefused) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Build(Minimal().dump()));
  EXPECT_THAT(tokenizer->Encode(std::string((size_t{64} << 20) + 1, 'a'), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("text of 67108865 bytes")));
}

struct BadCase {
  std::string pointer;
  std::string value;
  absl::StatusCode code;
  std::string message;
};

TEST(TokenizerJson, MalformedAndUnsupportedFiles) {
  const absl::StatusCode invalid = absl::StatusCode::kInvalidArgument;
  const absl::StatusCode unimplemented = absl::StatusCode::kUnimplemented;
  const std::string long_text(300, 'x');
  const BadCase cases[] = {
      {"/model", "[]", invalid, "model: not an object"},
      {"/model", "null", invalid, "model: not an object"},
      {"/model/type", R"("Unigram")", unimplemented, "model.type"},
      {"/model/type", "3", unimplemented, "model.type"},
      {"/model/vocab", R"(["a"])", invalid, "model.vocab: not an object"},
      {"/model/vocab/a", R"("0")", invalid, "model.vocab[a]: not an integer"},
      {"/model/vocab/a", "0.5", invalid, "model.vocab[a]: not an integer"},
      {"/model/vocab/a", "-1", invalid, "out of range"},
      {"/model/vocab/a", "1048576", invalid, "out of range"},
      {"/model/vocab/a", "18446744073709551615", invalid, "out of range"},
      {"/model/vocab/a", "1", invalid, "model.vocab[b]: id 1 is also that of \"a\""},
      {"/model/vocab/", "7", invalid, "token 7: empty text"},
      {"/model/vocab", "{}", invalid, "is not a token"},
      {"/model/merges", "{}", invalid, "model.merges: not a list"},
      {"/model/merges/0", "7", invalid, "model.merges[0]: neither"},
      {"/model/merges/0", R"("ab")", invalid, "model.merges[0]: not two"},
      {"/model/merges/0", R"("a b c")", invalid, "model.merges[0]: not two"},
      {"/model/merges/0", R"(" b")", invalid, "model.merges[0]: not two"},
      {"/model/merges/0", R"(["a", "b", "c"])", invalid, "model.merges[0]: neither"},
      {"/model/merges/0", R"(["a", 1])", invalid, "model.merges[0]: neither"},
      {"/model/merges/0", R"(["a", "z"])", invalid, "merges[0]: \"z\" is not a token"},
      {"/model/merges/0", R"(["b", "a"])", invalid, "merges[0]: \"ba\" is not a token"},
      {"/model/merges/1", R"(["a", "b"])", invalid, "merges[1]: the pair occurs twice"},
      {"/model/ignore_merges", "1", invalid, "model.ignore_merges: not a boolean"},
      {"/model/byte_fallback", "true", unimplemented, "model.byte_fallback"},
      {"/model/dropout", "0.1", unimplemented, "model.dropout"},
      {"/model/end_of_word_suffix", R"("</w>")", unimplemented, "model.end_of_word_suffix"},
      {"/added_tokens", "{}", invalid, "added_tokens: not a list"},
      {"/added_tokens/0", "4", invalid, "added_tokens[0]: not an object"},
      {"/added_tokens/0/content", "4", invalid, "added_tokens[0].content"},
      {"/added_tokens/0/content", R"("")", invalid, "token 4: empty text"},
      {"/added_tokens/0/content", "\"" + long_text + "\"", invalid, "300 bytes"},
      {"/added_tokens/0/content", R"("ab")", invalid, "token 4: \"ab\" is also token 3"},
      {"/added_tokens/0/id", "null", invalid, "added_tokens[0].id: missing"},
      {"/added_tokens/0/id", "1099511627776", invalid, "added_tokens[0].id: token id out of range"},
      {"/added_tokens/0/id", "3", invalid, "added_tokens[0].id: id 3 is also that of \"ab\""},
      {"/added_tokens/0/lstrip", "true", unimplemented, "added_tokens[0].lstrip"},
      {"/added_tokens/0/rstrip", "true", unimplemented, "added_tokens[0].rstrip"},
      {"/added_tokens/0/single_word", "true", unimplemented, "added_tokens[0].single_word"},
      {"/added_tokens/0/special", "1", invalid, "added_tokens[0].special"},
      {"/normalizer", R"({"type": "NFC"})", unimplemented, "normalizer"},
      {"/pre_tokenizer", "null", unimplemented, "pre_tokenizer"},
      {"/pre_tokenizer", "[]", invalid, "pre_tokenizer: not an object"},
      {"/pre_tokenizer/type", "1", invalid, "pre_tokenizer: \"type\""},
      {"/pre_tokenizer/type", R"("Metaspace")", unimplemented, "Metaspace"},
      {"/pre_tokenizer/add_prefix_space", "true", unimplemented, "add_prefix_space"},
      {"/pre_tokenizer", R"({"type": "Sequence"})", invalid, "pre_tokenizer.pretokenizers"},
      {"/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [7]})", invalid, "pre_tokenizer"},
      {"/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": []})", unimplemented,
       "byte level"},
      {"/pre_tokenizer", R"({"type": "Digits"})", unimplemented, "byte level"},
      {"/post_processor", R"({"type": "RobertaProcessing"})", unimplemented, "RobertaProcessing"},
      {"/post_processor", R"({"type": "TemplateProcessing"})", invalid, "post_processor.single"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": []})", unimplemented,
       "without the text"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": [{"SpecialToken": 1}]})",
       invalid, "SpecialToken.id"},
      {"/post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], )"
       R"("special_tokens": {}})",
       invalid, "no list \"ids\" for x"},
      {"/post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}},
           {"Sequence": {}}],
           "special_tokens": {"x": {"ids": [5]}}})",
       invalid, "token id 5 out of range"},
      {"/decoder", "null", unimplemented, "decoder"},
      {"/decoder/type", R"("Metaspace")", unimplemented, "decoder.type"},
  };
  for (const BadCase& c : cases) {
    EXPECT_THAT(Build(With(c.pointer, c.value)), StatusIs(c.code, HasSubstr(c.message)))
        << c.pointer << " = " << c.value;
  }
  for (const char* text : {"", "{", "[]", "nonsense", "{\"model\": \"\xFF\"}"}) {
    EXPECT_THAT(Build(text), StatusIs(invalid, HasSubstr("not a JSON object"))) << text;
  }
  EXPECT_THAT(Build("{}"), StatusIs(invalid, HasSubstr("model: not an object")));
}

TEST(TokenizerJson, EveryTruncationIsAnError) {
  const std::string text = Minimal().dump();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(Build(text.substr(0, length)).ok()) << length;
  }
}

TEST(TokenizerJson, DeepNestingDoesNotOverflowTheStack) {
  EXPECT_FALSE(Build(std::string(1000000, '[')).ok());
  EXPECT_FALSE(Build(std::string(1000000, '[') + std::string(1000000, ']')).ok());
}

}  // namespace
}  // namespace lckv
