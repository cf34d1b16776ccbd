#include "quant/format.h"

namespace nutshell {

void decode_row(DType dtype, const uint8_t* bytes, int64_t n, float* out) {
  visit(dtype, [&]<DType D>(Format<D>) {
    typename Format<D>::Block block;
    for (int64_t i = 0; i < n; i += kBlockLength<D>, bytes += sizeof(block)) {
      std::memcpy(&block, bytes, sizeof(block));  // rows may lie at any address
      Format<D>::decode(block, out + i);
    }
  });
}

bool encode_row(DType dtype, const float* values, int64_t n, uint8_t* bytes) {
  return visit(dtype, [&]<DType D>(Format<D>) {
    if constexpr (EncodableFormat<Format<D>>) {
      typename Format<D>::Block block;
      for (int64_t i = 0; i < n; i += kBlockLength<D>, bytes += sizeof(block)) {
        Format<D>::encode(values + i, block);
        std::memcpy(bytes, &block, sizeof(block));
      }
      return true;
    } else {
      return false;
    }
  });
}

bool has_encoder(DType dtype) {
  return visit(dtype, []<DType D>(Format<D>) { return EncodableFormat<Format<D>>; });
}

}  // namespace nutshell
