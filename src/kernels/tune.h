// The start-up choice between the two relaxed forms of the dot product. L2.
#pragma once

#include "kernels/simd.h"

namespace nutshell {

// The fastest form on this machine: measured once, in some tens of milliseconds; strict in a strict build.
// All forms give the same bits up to the fused multiply-add of the relaxed ones; a form that does not is not
// chosen.
Dot best_dot();

}  // namespace nutshell
