#pragma once

// What every backend is held to over the table of op cases (op_cases.h).

#include <string>
#include <vector>

#include "engine/ops/backend.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {

// All rows of the case; a stray write is a failure.
OpOutcome RunAll(const OpCase& op_case, Backend& backend);

void ExpectSameBits(const std::string& what, const std::vector<float>& expected,
                    const std::vector<float>& actual);

// Within the tolerances of the slow twin, every case.
void ExpectAgreesWithReference(Backend& backend);
// Each row alone, and batches of other sizes, give the bits that the row has in the whole batch.
void ExpectBatchDoesNotChangeBits(Backend& backend);
// Rotation and storing in one call, with other numbers of rows for the one and the other, give the
// bits of one after the other: keys that were rotated as queries and are then stored as they are.
void ExpectRopeAndStoreIsItsParts(Backend& backend);
// The same positions, cut into past and own pages at every `split_step`th place and into pages of
// several sizes, give the same attention.
void ExpectPagesDoNotChangeAttention(Backend& backend, int split_step);

}  // namespace lckv::testing
