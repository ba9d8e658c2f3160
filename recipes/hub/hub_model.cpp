#include "recipes/hub/hub_model.h"

#include <algorithm>
#include <optional>

#include "recipes/hub/hub_cache.h"
#include "recipes/hub/hub_connection.h"
#include "recipes/hub/hub_settings.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/hf_directory.h"

namespace attar {
namespace {

constexpr size_t kIndexLimitBytes = size_t{64} << 20;

class Hub {
 public:
  Hub(const HubName& name, HubPart part, const Progress& progress)
      : settings_(HubSettings::from_environment()),
        name_(name),
        part_(part),
        progress_(progress),
        cache_(settings_.cache, name),
        connection_(settings_, name_, progress_) {}

  HubModel find() {
    const std::optional<std::string> commit = cache_.commit_of(name_.revision);
    const std::optional<HubListing> known = commit ? cache_.listing(*commit) : std::nullopt;
    if (known)
      if (const std::optional<HubModel> whole = in_cache(*known)) return *whole;
    // What lies there of a commit: enough for a model, but perhaps not all of it.
    const std::optional<HubModel> enough = commit ? in_cache(cache_.present(*commit)) : std::nullopt;
    if (enough && (settings_.offline || is_one_file(*enough))) return *enough;
    if (settings_.offline) refuse_offline();
    try {
      return fetch(enough ? *commit : name_.revision);
    } catch (const Error& error) {
      if (!enough || error.kind() == ErrorKind::Usage || error.kind() == ErrorKind::Interrupted) throw;
      report(progress_, {.stage = "download", .unit = "bytes", .message = error.what()});
      return *enough;
    }
  }

 private:
  // Named in full, and no part of a split one: nothing can be missing.
  bool is_one_file(const HubModel& model) const {
    return model.path.ends_with("/" + name_.file) && name_.file.find("-of-") == std::string::npos;
  }

  HubModel model(const std::string& commit, const HubChoice& choice) const {
    HubName pinned = name_;
    pinned.revision = commit;
    if (!choice.path.empty()) pinned.file = choice.path;
    return {choice.path.empty() ? cache_.snapshot(commit) : cache_.file(commit, choice.path), pinned.text()};
  }

  // The weights of a folder whose other files are in the snapshot.
  std::vector<HubFile> weights(const HubListing& listing) const {
    if (part_ == HubPart::Tokenizer) return {};
    const bool indexed = listing.find(kWeights) == nullptr;
    return weights_of(name_, listing,
                      indexed ? read_file(cache_.file(listing.commit, kWeightIndex), kIndexLimitBytes) : "");
  }

  // Nothing: some of it is not there.
  std::optional<HubModel> in_cache(const HubListing& listing) const {
    const auto all_here = [&](const std::vector<HubFile>& files) {
      return std::all_of(files.begin(), files.end(),
                         [&](const HubFile& file) { return cache_.has(listing.commit, file); });
    };
    try {
      const HubChoice choice = choose_files(name_, listing, part_);
      if (!all_here(choice.files)) return std::nullopt;
      if (choice.path.empty() && !all_here(weights(listing))) return std::nullopt;
      return model(listing.commit, choice);
    } catch (const Error&) {
      return std::nullopt;  // the hub may have more, and says the rest
    }
  }

  HubModel fetch(const std::string& revision) {
    const HubListing listing = connection_.listing(revision);
    const HubChoice choice = choose_files(name_, listing, part_);
    connection_.fetch(cache_, listing.commit, choice.files);
    if (choice.path.empty()) {
      if (part_ == HubPart::Model)
        read_hf_config(cache_.snapshot(listing.commit));  // before gigabytes that nobody reads
      connection_.fetch(cache_, listing.commit, weights(listing));
    }
    cache_.remember(listing, name_.revision);
    return model(listing.commit, choice);
  }

  [[noreturn]] void refuse_offline() const {
    HubListing here;
    if (const std::optional<std::string> commit = cache_.commit_of(name_.revision)) here = cache_.present(*commit);
    throw input_error(
        name_.text(), "is not in the cache, and the network is not to be used", {},
        here.files.empty() ? "" : std::to_string(here.files.size()) + " files of it in " + cache_.folder(),
        "run once without --offline and HF_HUB_OFFLINE; or, where there is a network, `hf download " +
            name_.repository + (name_.file.empty() ? "" : " " + name_.file) + "`, and copy " + settings_.cache);
  }

  const HubSettings settings_;
  const HubName& name_;
  const HubPart part_;
  const Progress& progress_;
  const HubCache cache_;
  HubConnection connection_;
};

}  // namespace

HubModel fetch_hub_model(const std::string& model, HubPart part, const Progress& progress) {
  const HubName name = parse_hub_name(model);
  return Hub(name, part, progress).find();
}

ModelSource hub_source(const Progress& progress) {
  return [&progress](const std::string& model) { return fetch_hub_model(model, HubPart::Model, progress).path; };
}

std::string pinned_model(const std::string& model, HubPart part, const Progress& progress) {
  return is_on_hub(model) ? fetch_hub_model(model, part, progress).pinned : model;
}

}  // namespace attar
