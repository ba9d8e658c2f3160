#include "recipes/run/prune_record.h"

#include <nlohmann/json.hpp>

namespace attar {

std::string layer_cuts_json(const std::vector<LayerCut>& cuts) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerCut& cut : cuts)
    layers.push_back({{"layer", cut.layer},
                      {"channels", cut.kept_channels.size()},
                      {"kv_groups", cut.kept_kv_groups.size()},
                      {"relative_error", cut.relative_error}});
  return layers.dump();
}

}  // namespace attar
