// Our compressed files: GGUF whose trellis-coded matrices are stored as raw bytes (I8), so that every GGUF
// reader can list them, with their description in metadata. L5.
//
//   nutshell.version        u32     1
//   nutshell.rotation.seed  u64     of the rotations (backend/op.h); needed when a tensor is rotated
//   nutshell.tables         u8[]    40 bytes per set: T1[16] T2[16] zero start, 6 zero bytes
//                                   (quant/trellis.h)
//   nutshell.coded.names    string[], and parallel to it:
//   nutshell.coded.formats  string[]: "NT2", "NT3", "NT4"
//   nutshell.coded.rows     integer[], nutshell.coded.columns integer[]: the true shape
//   nutshell.coded.tables   integer[]: the set of each tensor
//   nutshell.coded.scales   f32[]
//   nutshell.coded.rotated  bool[]
//   nutshell.order.NAME     integer[], optional: stored row i of the tensor NAME is its row order[i]
//
// A coded tensor is I8 with the dimensions (bytes per row, rows padded to a multiple of 16); one of several
// matrices, never rotated, (bytes per row, rows of a matrix, a multiple of 16, matrices). One whose rows
// differ in width has an entry for each run of rows, one after the other under the same name, all but the
// last of a multiple of 16 rows; it is I8 with one dimension. Everything else in the file is as in any GGUF.
// nutshell.source.*, nutshell.calibration.* and nutshell.quality.* say where the file came from and what was
// measured; `inspect` shows them.
#pragma once

#include "model/gguf.h"
#include "model/tensor_index.h"

namespace nutshell {

// Whether the file has coded tensors at all.
bool has_coded_tensors(const GgufFile& file);

// Gives the coded tensors of the index their true format, shape and tables. Errors: missing_metadata,
// bad_version, corrupt_file, missing_tensor, bad_shape, unsupported_format, limit_exceeded, each naming the
// key or tensor. A file without coded tensors is left as it is.
Status describe_coded_tensors(const GgufFile& file, TensorIndex& tensors);

}  // namespace nutshell
