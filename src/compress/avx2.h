// Functions whose sums do not depend on the width of vectors, and which AVX2 makes about twice as fast: the
// only ones of the compressor that are compiled for it (matrix.h).
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define NUTSHELL_AVX2 __attribute__((target("avx2")))
#else
#define NUTSHELL_AVX2
#endif
