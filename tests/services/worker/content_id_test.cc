#include "services/worker/content_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace lckv::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int32_t> Range(int32_t begin, int count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), begin);
  return tokens;
}

// The vectors were computed from the layout in the header by an independent program.
TEST(ContentIdTest, Vectors) {
  std::string fingerprint(32, '\0');
  std::iota(fingerprint.begin(), fingerprint.end(), '\0');
  const ContentContext context = {"acme", fingerprint, "cpu-f32fma-r1", 9};
  const Sha256Digest first = PageContentId(context, Sha256Digest{}, Range(100, 16), {0, 12});
  EXPECT_EQ(ToHex(first), "be70f432ca1d091c1311733ba0a64bcc8c4a4ba657ad82eb39d407ca21e26253");
  EXPECT_EQ(ToHex(PageContentId(context, first, Range(116, 16), {})),
            "1818e20dd4ed88fcf62e94279479a9dbcf50e89a8d951ec3f6ac41d8ef1ca41c");
  EXPECT_EQ(ToHex(PageContentId({"", "", "", 1}, Sha256Digest{}, {7}, {0})),
            "0aeb5e9e085b4f22806dc37c2b13551aed46af213f27ce89719080b4fd045a17");
}

TEST(ContentIdTest, EverythingCounts) {
  const ContentContext context = {"acme", "fp", "class", 9};
  const Sha256Digest id = PageContentId(context, Sha256Digest{}, {1, 2}, {0});
  Sha256Digest parent{};
  parent[31] = 1;
  EXPECT_EQ(id, PageContentId(context, Sha256Digest{}, {1, 2}, {0}));
  EXPECT_NE(id, PageContentId({"acmf", "fp", "class", 9}, Sha256Digest{}, {1, 2}, {0}));
  EXPECT_NE(id, PageContentId({"acme", "fq", "class", 9}, Sha256Digest{}, {1, 2}, {0}));
  EXPECT_NE(id, PageContentId({"acme", "fp", "classy", 9}, Sha256Digest{}, {1, 2}, {0}));
  EXPECT_NE(id, PageContentId({"acme", "fp", "class", 8}, Sha256Digest{}, {1, 2}, {0}));
  EXPECT_NE(id, PageContentId(context, parent, {1, 2}, {0}));
  EXPECT_NE(id, PageContentId(context, Sha256Digest{}, {1, 3}, {0}));
  EXPECT_NE(id, PageContentId(context, Sha256Digest{}, {1, 2}, {1}));
  // What moves from one field to the next changes the id as well.
  EXPECT_NE(PageContentId({"ab", "c", "", 1}, Sha256Digest{}, {}, {}),
            PageContentId({"a", "bc", "", 1}, Sha256Digest{}, {}, {}));
  EXPECT_NE(PageContentId(context, Sha256Digest{}, {1, 0}, {}),
            PageContentId(context, Sha256Digest{}, {1}, {0}));
}

TEST(SegmentStartsTest, WherePagesAndSegmentsCross) {
  // [0, 5) one segment, 5 6 7 single ones, [8, 20) one segment.
  const std::vector<SegmentRun> segments = {{5, false}, {3, true}, {12, false}};
  EXPECT_THAT(SegmentStarts(segments, 0, 16), ElementsAre(0, 5, 6, 7, 8));
  EXPECT_THAT(SegmentStarts(segments, 6, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(SegmentStarts(segments, 4, 2), ElementsAre(1));
  EXPECT_THAT(SegmentStarts(segments, 9, 11), IsEmpty());
  EXPECT_THAT(SegmentStarts(segments, 20, 0), IsEmpty());
}

}  // namespace
}  // namespace lckv::worker
