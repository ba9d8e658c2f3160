// What the environment says about the hub, by the names that huggingface_hub and its command line have.
#pragma once

#include <string>

namespace attar {

struct HubSettings {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string cache;                                // HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub
  std::string token;                                // HF_TOKEN, or the file that `hf auth login` writes; "": none
  bool offline = false;                             // HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, --offline
  double timeout_s = 10.0;                          // HF_HUB_DOWNLOAD_TIMEOUT: of an answer that has stalled

  // Error{Usage}: a value that cannot be meant.
  static HubSettings from_environment();
};

// --offline: from here on, in this process and its children.
void go_offline();

}  // namespace attar
