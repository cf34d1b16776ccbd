// All number formats together: the concept they fulfil and the only switch over them. L1.
// To add a format: one line in tensor/dtypes.def, one file here, one include below (a forgotten one does not
// compile; a file nobody includes fails tests/unit/quant/format_test.cpp).
#pragma once

#include <concepts>
#include <cstring>
#include <utility>

#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace nutshell {

template <typename F>
concept QuantFormat = requires(const typename F::Block& block, float* out) {
  { F::decode(block, out) } -> std::same_as<void>;
};
template <typename F>
concept EncodableFormat = QuantFormat<F> && requires(const float* in, typename F::Block& block) {
  { F::encode(in, block) } -> std::same_as<void>;
};

// Calls fn(Format<D>{}) with D the compile-time twin of dtype: visit(t, [&]<DType D>(Format<D>) { ... }).
// Precondition: dtype is one of the block formats (the trellis formats are in quant/trellis.h).
template <typename Fn>
decltype(auto) visit(DType dtype, Fn&& fn) {
  switch (dtype) {
#define X(id, name, gguf_id, block_length, block_bytes) \
  case DType::id:                                       \
    static_assert(QuantFormat<Format<DType::id>>);      \
    return fn(Format<DType::id>{});
#include "tensor/dtypes.def"
#undef X
#define X(id, name, bits) case DType::id:
#include "tensor/trellis.def"
#undef X
    break;
  }
  __builtin_trap();
}

// Decodes n values at bytes, any alignment. Preconditions: n a multiple of the block length, bytes holds
// row_bytes(dtype, n), out has room for n values. Any bit pattern is fine.
void decode_row(DType dtype, const uint8_t* bytes, int64_t n, float* out);

// Encodes n finite values into row_bytes(dtype, n) bytes; false when the format has no encoder here.
// Same precondition for n. Values beyond the format's range give infinite scales or values.
bool encode_row(DType dtype, const float* values, int64_t n, uint8_t* bytes);
bool has_encoder(DType dtype);

}  // namespace nutshell
