// What prune says of each layer, for reports and for `attar prune --json`.
#pragma once

#include <string>
#include <vector>

#include "prune/prune.h"

namespace attar {

// A JSON array: what was kept of each layer, and the error that is left.
std::string layer_cuts_json(const std::vector<LayerCut>& cuts);

}  // namespace attar
