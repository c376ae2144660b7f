#pragma once

#include <cstdint>
#include <memory>

#include "engine/tokenizer/tokenizer.h"

namespace lckv::worker {

// Stands in for the tokenizer of a model that has none (random weights): ids pass, text does not
// (FAILED_PRECONDITION), and every token stands for no bytes.
std::unique_ptr<Tokenizer> MakeIdTokenizer(int32_t vocab_size);

}  // namespace lckv::worker
