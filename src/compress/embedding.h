// Models that embed texts: what a text's vector is, and how an error of it spreads to its tokens. L5. Instead
// of a KL divergence, what coding costs is the squared distance of the vectors, which have length 1.
#pragma once

#include <cstdint>

#include "compress/matrix.h"
#include "model/hparams.h"

namespace nutshell::compress {

// tokens: the model's vector of each of a text's tokens.
Vector text_vector(const Matrix& tokens, Pooling pooling);

// tokens become the gradient of <u, text_vector(tokens)>, u Gaussian: the mean square of <u, e> over all u is
// |e|^2. text counts texts.
void sample_vector_gradient(Matrix& tokens, Pooling pooling, uint64_t seed, uint64_t text);

}  // namespace nutshell::compress
