// The one main of all unit tests (doctest). The same binary runs natively, under sanitizers and as wasm.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "support/golden_dir.h"

std::string nutshell::test::golden_dir() { return NUTSHELL_GOLDEN_DIR; }
