#include "engine/draft.h"

#include <doctest/doctest.h>

using namespace nutshell;
using Ids = std::vector<int32_t>;

TEST_CASE("a draft is what followed the longest, latest place that ends alike") {
  CHECK(lookup_draft(Ids{}, 3).empty());
  CHECK(lookup_draft(Ids{1, 2, 3}, 3).empty());
  CHECK(lookup_draft(Ids{1, 2, 3, 4, 5, 6}, 3).empty());
  CHECK(lookup_draft(Ids{1, 2, 3, 9, 8, 2, 3}, 3).empty());  // two tokens alike are too little
  CHECK(lookup_draft(Ids{1, 2, 3, 4, 5, 6, 1, 2, 3}, 3) == Ids{4, 5, 6});
  CHECK(lookup_draft(Ids{1, 2, 3, 4, 5, 6, 1, 2, 3}, 2) == Ids{4, 5});
  CHECK(lookup_draft(Ids{1, 2, 3, 4, 5, 6, 1, 2, 3}, 0).empty());
  CHECK(lookup_draft(Ids{1, 2, 3, 7, 1, 2, 3, 9, 1, 2, 3}, 1) == Ids{9});        // the latest
  CHECK(lookup_draft(Ids{5, 1, 2, 3, 7, 1, 2, 3, 9, 5, 1, 2, 3}, 1) == Ids{7});  // the longest
  CHECK(lookup_draft(Ids{1, 1, 1, 1, 1, 1, 1}, 3) == Ids{1, 1, 1});              // repetition goes on
  CHECK(lookup_draft(Ids{1, 2, 1, 2, 1, 2, 1, 2}, 3) == Ids{1, 2, 1});
}

TEST_CASE("drafts are made while they pay, given up when they do not, and tried again") {
  DraftGain good;
  CHECK_FALSE(good.worth(0));
  good.plain(10);
  for (int i = 0; i < 50; ++i) {
    CHECK(good.worth(3));
    good.drafted(i < 4 ? 90 : 15);  // slow at first
    good.checked(3, 3);
  }
  DraftGain bad;
  bad.plain(10);
  for (int i = 0; i < 10; ++i) {
    bad.drafted(25);
    bad.checked(3, 0);
  }
  int made = 0;
  for (int i = 0; i < 200; ++i) made += bad.worth(3);
  CHECK(made >= 3);
  CHECK(made <= 10);
  for (int i = 0; i < 20; ++i) bad.checked(3, 3);  // what is tried again may be right now
  CHECK(bad.worth(3));
}
