// How far TAID's target has moved from the student to the teacher (Shing et al. 2025, arXiv 2501.16937, section 3.2):
// at least by the share of the training that is done, and faster while the loss falls.
#pragma once

#include "distill/losses/loss_term.h"

namespace attar {

struct TaidState {
  double share = -1.0;     // of the teacher; below 0: nothing was learned yet
  double momentum = 0.0;   // of the loss's relative fall
  double last_loss = 0.0;  // of the step before; 0: none
};

double taid_share(const TaidState& state, const LossSettings& settings);

// After a step with this loss, when `done` (0 to 1) of the training is behind.
void advance_taid(TaidState& state, const LossSettings& settings, double loss, double done);

}  // namespace attar
