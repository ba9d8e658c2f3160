// One row's loss and gradient from the definitions, in double, over whole vectors: what row_losses is held to.
#pragma once

#include <vector>

#include "distill/losses/row_losses.h"

namespace attar {

// gradient (V) += scale * d loss / d logits, without the term's weight; -> the loss.
double row_loss_reference(const LossTerm& term, const std::vector<float>& logits, const RowTarget& target, double scale,
                          std::vector<double>& gradient);

}  // namespace attar
