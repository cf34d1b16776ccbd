// Where the golden files lie.
#pragma once

#include <string>

namespace nutshell::test {

// tests/golden of the checkout. Defined in unit/main.cpp, the only file that is compiled with a path in it: a
// compiler cache knows the others in every clone.
std::string golden_dir();

}  // namespace nutshell::test
