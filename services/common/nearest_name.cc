#include "services/common/nearest_name.h"

#include <algorithm>
#include <cstdlib>

namespace lckv {
namespace {

constexpr int kMostLetters = 2;

}  // namespace

int EditDistance(absl::string_view a, absl::string_view b, int limit) {
  const int rows = static_cast<int>(a.size()), columns = static_cast<int>(b.size());
  if (std::abs(rows - columns) > limit) return limit + 1;
  // Three rows of the table of distances between the beginnings of `a` and `b`.
  std::vector<int> before(columns + 1), above(columns + 1), row(columns + 1);
  for (int j = 0; j <= columns; ++j) row[j] = j;
  for (int i = 1; i <= rows; ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = i;
    int best = i;
    for (int j = 1; j <= columns; ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
      best = std::min(best, row[j]);
    }
    // A swap looks back two rows, so the row above may still lead to something nearer.
    if (best > limit + 1) return limit + 1;
  }
  return std::min(row[columns], limit + 1);
}

std::string NearestName(absl::string_view text, const std::vector<std::string>& names) {
  std::string nearest;
  int least = kMostLetters + 1;
  for (const std::string& name : names) {
    const int limit = std::min(kMostLetters, static_cast<int>(name.size()) / 3);
    const int distance = EditDistance(text, name, limit);
    if (distance <= limit && distance < least) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace lckv
