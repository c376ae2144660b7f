// `lckv tokenize`: text to token ids and back, one JSON object a line.

#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "services/cli/command.h"
#include "services/cli/json_output.h"

namespace lckv {
namespace {

using Json = nlohmann::ordered_json;

struct TokenizeOptions {
  std::string model;
  bool add_special = false;
  bool parse_special = false;
  bool decode = false;
  bool skip_special = false;
};

absl::StatusOr<Json> Encode(const Tokenizer& tokenizer, const TokenizeOptions& options,
                            const Json& line) {
  if (!line.contains("text") || !line["text"].is_string()) {
    return absl::InvalidArgumentError("no \"text\"");
  }
  LCKV_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                        tokenizer.Encode(line["text"].get_ref<const std::string&>(),
                                         {.add_special = options.add_special,
                                          .parse_special = options.parse_special}));
  return Json{{"ids", ids}};
}

absl::StatusOr<Json> Decode(const Tokenizer& tokenizer, const TokenizeOptions& options,
                            const Json& line) {
  if (!line.contains("ids") || !line["ids"].is_array()) {
    return absl::InvalidArgumentError("no \"ids\"");
  }
  std::vector<int32_t> ids;
  for (const Json& id : line["ids"]) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
      return absl::InvalidArgumentError(absl::StrCat("ids[", ids.size(), "] is no token id"));
    }
    ids.push_back(id.get<int32_t>());
  }
  LCKV_ASSIGN_OR_RETURN(std::string text, tokenizer.Decode(ids, options.skip_special));
  return Json{{"text", std::move(text)}};
}

absl::Status RunTokenize(const TokenizeOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(options.model));
  std::string text;
  for (int64_t number = 1; std::getline(std::cin, text); ++number) {
    const std::string where = absl::StrCat("input line ", number);
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": no JSON object"));
    }
    const absl::StatusOr<Json> answer =
        options.decode ? Decode(*tokenizer, options, line) : Encode(*tokenizer, options, line);
    if (!answer.ok()) return Annotate(answer.status(), where);
    std::cout << ToLine(*answer) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddTokenize(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = Declare(tool, "tokenize",
                              "Lines {\"text\":…} on stdin to lines {\"ids\":…} on stdout, or back",
                              options, &RunTokenize, chosen);
  command->add_option("--model", options->model, "Model directory, GGUF file or tokenizer.json")
      ->required();
  command->add_flag("--add-special", options->add_special, "Put BOS in front where there is one");
  command->add_flag("--parse-special", options->parse_special,
                    "Special token strings become their ids");
  CLI::Option* decode = command->add_flag("--decode", options->decode, "The other way round");
  command->add_flag("--skip-special", options->skip_special, "Leave special tokens out")
      ->needs(decode);
}

}  // namespace lckv
