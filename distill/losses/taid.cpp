#include "distill/losses/taid.h"

#include <algorithm>
#include <cmath>

namespace attar {

double taid_share(const TaidState& state, const LossSettings& settings) {
  return state.share < 0.0 ? setting(settings, "taid_start") : state.share;
}

void advance_taid(TaidState& state, const LossSettings& settings, double loss, double done) {
  const double start = setting(settings, "taid_start"), kept = setting(settings, "taid_momentum");
  const double share = taid_share(state, settings);
  if (state.last_loss > 0.0)
    state.momentum = kept * state.momentum + (1.0 - kept) * (state.last_loss - loss) / state.last_loss;
  const double ahead = setting(settings, "taid_rate") / (1.0 + std::exp(-state.momentum)) * (1.0 - share);
  state.share = std::min(1.0, std::max(start + (1.0 - start) * done, share + ahead));
  state.last_loss = loss;
}

}  // namespace attar
