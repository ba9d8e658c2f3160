// What is asked of a hub: the files of a revision, and the bytes of a file, received beside the cache, checked by their
// hash, and only then put into it. Answers that break off, stall or are put off (429, 503) are asked for again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "recipes/hub/hub_cache.h"
#include "recipes/hub/hub_listing.h"
#include "recipes/hub/hub_settings.h"
#include "recipes/net/http.h"
#include "runtime/base/error.h"
#include "runtime/base/progress.h"

namespace attar {

class HubConnection {
 public:
  HubConnection(const HubSettings& settings, const HubName& name, const Progress& progress);

  // Error{Input}: no such model or revision, or not for this token. Error{Failure}: no answer.
  HubListing listing(const std::string& revision);
  // Fetches what the cache lacks of these and links all of them into the snapshot.
  void fetch(const HubCache& cache, const std::string& commit, std::vector<HubFile> files);

 private:
  class Patience;

  HttpHead ask(const HttpRequest& request, const HttpSink& sink, const std::string& what);
  void learn_hash(const std::string& commit, HubFile& file);
  void fetch_blob(const HubCache& cache, const std::string& commit, const HubFile& file);
  void receive(const std::string& commit, const HubFile& file, const std::string& path);
  void require_space(const HubCache& cache, const std::vector<HubFile>& files) const;
  std::string url_of(const std::string& commit, const HubFile& file) const;
  [[noreturn]] void refuse(const HttpHead& head, const std::string& what, const std::string& revision) const;
  void tick();
  void say(const std::string& message);

  const HubSettings& settings_;
  const HubName& name_;
  const Progress& progress_;
  Event now_{.stage = "download", .unit = "bytes"};
};

}  // namespace attar
