#include "recipes/hub/hub_listing.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/base/error.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

uint64_t size_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

std::string hash_of(const std::string& text, size_t digits) {
  return is_hexadecimal(text, digits) ? text : "";
}

}  // namespace

const HubFile* HubListing::find(const std::string& name) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const HubFile& file) { return file.name == name; });
  return found == files.end() ? nullptr : &*found;
}

HubListing parse_hub_listing(const std::string& json, const std::string& where) {
  const auto wrong = [&](const std::string& what, const std::string& got = {}) {
    return Error(ErrorKind::Failure, {.where = where,
                                      .what = what,
                                      .expected = "the hub's list of a model's files",
                                      .got = printable(got),
                                      .hint = "is HF_ENDPOINT a hub?"});
  };
  const Json root = Json::parse(json, nullptr, false);
  if (!root.is_object()) throw wrong("does not answer in JSON", json.substr(0, 80));
  HubListing listing{.commit = text_of(root, "sha"), .files = {}};
  if (!is_commit(listing.commit)) throw wrong("names no commit", text_of(root, "sha"));
  const auto siblings = root.find("siblings");
  if (siblings == root.end() || !siblings->is_array()) throw wrong("lists no files");
  for (const Json& entry : *siblings) {
    if (!entry.is_object()) throw wrong("lists no files", entry.type_name());
    HubFile file{.name = text_of(entry, "rfilename"), .size_bytes = size_of(entry, "size")};
    if (!is_inner_path(file.name)) throw wrong("names a file outside of the repository", file.name);
    file.git_sha1 = hash_of(text_of(entry, "blobId"), 40);
    if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
      file.sha256 = hash_of(text_of(*lfs, "sha256"), 64);
      file.size_bytes = size_of(*lfs, "size");
    }
    listing.files.push_back(std::move(file));
  }
  return listing;
}

std::optional<HubListing> parse_tree(const std::string& json, const std::string& commit) {
  const Json root = Json::parse(json, nullptr, false);
  const auto version = root.find("format_version"), files = root.find("files");  // no copies: they may be nested deeply
  if (version == root.end() || *version != 1 || files == root.end() || !files->is_object()) return std::nullopt;
  HubListing listing{.commit = commit, .files = {}};
  for (const auto& [name, entry] : files->items()) {
    if (!entry.is_object() || !is_inner_path(name)) return std::nullopt;
    HubFile file{.name = name, .size_bytes = size_of(entry, "size")};
    file.git_sha1 = hash_of(text_of(entry, "blob_id"), 40);
    file.sha256 = hash_of(text_of(entry, "lfs_sha256"), 64);
    if (!file.sha256.empty()) file.size_bytes = size_of(entry, "lfs_size");
    listing.files.push_back(std::move(file));
  }
  return listing;
}

std::string tree_json(const HubListing& listing) {
  Json files = Json::object();
  for (const HubFile& file : listing.files) {
    if (file.git_sha1.empty()) return "";
    Json entry = {{"size", file.size_bytes}, {"blob_id", file.git_sha1}};
    if (!file.sha256.empty()) entry["lfs_sha256"] = file.sha256, entry["lfs_size"] = file.size_bytes;
    files[file.name] = entry;
  }
  return Json{{"format_version", 1}, {"files", files}}.dump(2) + "\n";
}

std::vector<HubFile> weights_of(const HubName& name, const HubListing& listing, const std::string& index) {
  if (const HubFile* whole = listing.find(kWeights)) return {*whole};
  const Json root = Json::parse(index, nullptr, false);
  const std::string where = name.text() + ": " + kWeightIndex;
  const auto map = root.find("weight_map");
  if (map == root.end() || !map->is_object()) throw input_error(where, "has no weight_map");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) throw input_error(where, "names a shard that is no text", {}, shard.type_name());
    shards.insert(shard.get<std::string>());
  }
  std::vector<HubFile> files;
  for (const std::string& shard : shards) {
    const HubFile* file = listing.find(shard);
    if (file == nullptr || !shard.ends_with(".safetensors"))
      throw input_error(where, "names a shard that the repository lacks", "a .safetensors file", printable(shard));
    files.push_back(*file);
  }
  return files;
}

}  // namespace attar
