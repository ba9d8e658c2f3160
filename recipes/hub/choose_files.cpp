// Which files of a repository are the model that a name means: one GGUF (all parts of a split one), or a Hugging Face
// directory. Pickled weights never are.
#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>

#include "recipes/hub/hub_listing.h"
#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"

namespace attar {
namespace {

constexpr size_t kListed = 20;
constexpr const char* kFolderFiles[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "chat_template.jinja",
                                        "README.md",
                                        kWeightIndex};
constexpr const char* kPickled[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};

using Parts = std::vector<HubFile>;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// x-00002-of-00005.gguf -> x-00001-of-00005.gguf; another name is itself.
std::string first_part(const std::string& name) {
  static constexpr size_t kTail = std::string_view("-00001-of-00001.gguf").size();
  if (name.size() <= kTail) return name;
  const size_t at = name.size() - kTail;
  const bool split = name[at] == '-' && name.compare(at + 6, 4, "-of-") == 0 &&
                     std::all_of(name.begin() + static_cast<long>(at) + 1, name.begin() + static_cast<long>(at) + 6,
                                 [](unsigned char c) { return std::isdigit(c) != 0; });
  return split ? name.substr(0, at) + "-00001" + name.substr(at + 6) : name;
}

// The GGUFs of a repository, each with its parts, by the first part's name. Encoders of images (mmproj) are no models.
std::map<std::string, Parts> ggufs_of(const HubListing& listing) {
  std::map<std::string, Parts> ggufs;
  for (const HubFile& file : listing.files)
    if (lower(file.name).ends_with(".gguf") && lower(file.name).find("mmproj") == std::string::npos)
      ggufs[first_part(file.name)].push_back(file);
  return ggufs;
}

uint64_t total_bytes(const Parts& parts) {
  return std::accumulate(parts.begin(), parts.end(), uint64_t{0},
                         [](uint64_t sum, const HubFile& file) { return sum + file.size_bytes; });
}

// Those that come nearest to what was typed, first: most characters in common, in order.
size_t in_common(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1, 0);
  for (const char c : a)
    for (size_t j = 1, diagonal = 0; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = c == b[j - 1] ? diagonal + 1 : std::max(row[j], row[j - 1]);
      diagonal = above;
    }
  return row[b.size()];
}

// "\n  hf:ORG/NAME:FILE.gguf   98.4 MB" each.
std::string lines(const HubName& name, const std::vector<std::pair<std::string, Parts>>& ggufs) {
  std::string text;
  for (size_t i = 0; i < std::min(kListed, ggufs.size()); ++i) {
    HubName one = name;
    one.file = ggufs[i].first;
    text += "\n  " + printable(one.text(), 200);
    if (const uint64_t bytes = total_bytes(ggufs[i].second); bytes > 0) text += "   " + size_text(bytes);
  }
  if (ggufs.size() > kListed) text += "\n  and " + std::to_string(ggufs.size() - kListed) + " more";
  return text;
}

HubChoice choose_gguf(const HubName& name, const std::map<std::string, Parts>& ggufs) {
  if (const auto exact = ggufs.find(first_part(name.file)); exact != ggufs.end()) return {exact->second, exact->first};
  const std::string wanted = lower(name.file);
  std::vector<std::pair<std::string, Parts>> alike, all(ggufs.begin(), ggufs.end());
  for (const auto& gguf : all)
    if (lower(gguf.first).find(wanted) != std::string::npos) alike.push_back(gguf);
  if (alike.size() == 1) return {alike[0].second, alike[0].first};
  if (alike.size() > 1)
    throw usage_error(printable(name.text()), "may mean several files, name one of them:" + lines(name, alike));
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return in_common(wanted, lower(a.first)) > in_common(wanted, lower(b.first));
  });
  HubName repository = name;
  repository.file.clear();
  throw input_error(printable(name.text()),
                    all.empty() ? "there is no GGUF in " + repository.text()
                                : "there is no such file in " + repository.text() + ", which has:" + lines(name, all));
}

HubChoice choose_folder(const HubListing& listing) {
  HubChoice choice;
  for (const HubFile& file : listing.files) {
    const bool known = std::find(std::begin(kFolderFiles), std::end(kFolderFiles), file.name) != std::end(kFolderFiles);
    const bool more = file.name.starts_with("additional_chat_templates/") && file.name.ends_with(".jinja");
    if (known || more) choice.files.push_back(file);
  }
  return choice;
}

}  // namespace

HubChoice choose_files(const HubName& name, const HubListing& listing, HubPart part) {
  const std::map<std::string, Parts> ggufs = ggufs_of(listing);
  if (!name.file.empty()) return choose_gguf(name, ggufs);
  const bool weights = listing.find(kWeights) != nullptr || listing.find(kWeightIndex) != nullptr;
  if (part == HubPart::Tokenizer && listing.find("tokenizer.json") != nullptr) return choose_folder(listing);
  if (weights && listing.find("config.json") != nullptr) return choose_folder(listing);
  if (ggufs.size() == 1) return {ggufs.begin()->second, ggufs.begin()->first};
  if (!ggufs.empty())
    throw usage_error(printable(name.text()),
                      "holds several GGUF files, name one of them:" + lines(name, {ggufs.begin(), ggufs.end()}));
  const auto pickled = std::find_if(listing.files.begin(), listing.files.end(), [](const HubFile& file) {
    return std::any_of(std::begin(kPickled), std::end(kPickled),
                       [&](const char* end) { return file.name.ends_with(end); });
  });
  throw input_error(
      printable(name.text()), "holds no model that Attar reads", "a .gguf file, or config.json and model.safetensors",
      pickled == listing.files.end() ? "" : printable(pickled->name) + ", which is pickled",
      pickled == listing.files.end() ? ""
                                     : "Attar never unpickles a file: look for a revision or a copy with safetensors");
}

}  // namespace attar
