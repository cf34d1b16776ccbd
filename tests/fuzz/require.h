// What every fuzz target asks of what it runs.
#pragma once

#include <cstdlib>

namespace nutshell::fuzz {

// A promise that does not hold ends the program, which libFuzzer and the sanitizers report with the input.
inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace nutshell::fuzz
