// The one main of all unit tests (doctest). The same binary runs natively, under sanitizers and as wasm.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
