#include "engine/stop_strings.h"

#include <doctest/doctest.h>

using nutshell::StopStrings;

TEST_CASE("without stop texts everything passes at once") {
  StopStrings s;
  CHECK(s.push("abc") == "abc");
  CHECK(s.flush().empty());
  CHECK_FALSE(s.stopped());
}

TEST_CASE("a stop text is cut out even when it arrives in pieces") {
  StopStrings s({"END"});
  CHECK(s.push("one E") == "one ");
  CHECK(s.push("N") == "");
  CHECK(s.push("D two") == "");
  CHECK(s.stopped());
}

TEST_CASE("what only looked like a stop text is given later") {
  StopStrings s({"END"});
  CHECK(s.push("xEN") == "x");
  CHECK(s.push("Q") == "ENQ");
  CHECK(s.push("E") == "");
  CHECK(s.flush() == "E");
}

TEST_CASE("the earliest of several stop texts wins") {
  StopStrings s({"world", "lo w"});
  CHECK(s.push("hello world") == "hel");
  CHECK(s.stopped());
}

TEST_CASE("a repeated beginning is held back at the right place") {
  StopStrings s({"aab"});
  CHECK(s.push("aaa") == "a");
  CHECK(s.push("b") == "");
  CHECK(s.stopped());
}
