// The cache that huggingface_hub keeps: models--ORG--NAME/{refs,snapshots,blobs,trees}, a snapshot's files linked to
// blobs that are named by their hash. What either of the two has written the other finds.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "recipes/hub/hub_listing.h"

namespace attar {

class HubCache {
 public:
  HubCache(const std::string& root, const HubName& name);

  std::string snapshot(const std::string& commit) const { return folder_ + "/snapshots/" + commit; }
  std::string file(const std::string& commit, const std::string& name) const { return snapshot(commit) + "/" + name; }
  std::string blob(const std::string& hash) const { return folder_ + "/blobs/" + hash; }
  const std::string& folder() const { return folder_; }

  std::optional<std::string> commit_of(const std::string& revision) const;  // as it was when it was last asked for
  std::optional<HubListing> listing(const std::string& commit) const;  // all that the commit has, where it is known
  HubListing present(const std::string& commit) const;                 // what lies here of it
  bool has(const std::string& commit, const HubFile& file) const;

  void remember(const HubListing& listing, const std::string& revision) const;
  void link(const std::string& commit, const HubFile& file) const;  // to its blob

 private:
  std::string folder_;
};

// The lock that huggingface_hub takes too while it fetches a blob; `tick` is called while another process holds it.
class HubLock {
 public:
  HubLock(const std::string& root, const HubName& name, const std::string& hash, const std::function<void()>& tick);
  ~HubLock();
  HubLock(const HubLock&) = delete;
  HubLock& operator=(const HubLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace attar
