// The files of a repository at one commit, as the hub lists them and as huggingface_hub keeps that list
// (trees/COMMIT.json), and which of them make the model that a name means.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipes/hub/hub_name.h"

namespace attar {

struct HubFile {
  std::string name;  // path in the repository
  uint64_t size_bytes = 0;
  std::string sha256{};    // of a file in LFS
  std::string git_sha1{};  // of git's blob: of the others

  const std::string& hash() const { return sha256.empty() ? git_sha1 : sha256; }  // the cache's name for it
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;

  const HubFile* find(const std::string& name) const;
};

// Of /api/models/ORG/NAME/revision/REVISION?blobs=true. `where`: the address. Error{Failure}: it is no such answer.
HubListing parse_hub_listing(const std::string& json, const std::string& where);

std::optional<HubListing> parse_tree(const std::string& json, const std::string& commit);  // nothing: not of this form
std::string tree_json(const HubListing& listing);                                          // "": a file lacks its hash

enum class HubPart { Model, Tokenizer };  // Tokenizer: no weights, where the tokenizer is a file of its own

struct HubChoice {
  std::vector<HubFile> files;  // but the weights of a folder, which weights_of tells
  std::string path;            // of the model in the snapshot; "": the snapshot itself, a Hugging Face directory
};
// Error: none of the files is meant, or several are; it names them.
HubChoice choose_files(const HubName& name, const HubListing& listing, HubPart part);

// The safetensors of a Hugging Face directory. `index`: the text of model.safetensors.index.json, where there is one.
inline constexpr const char* kWeights = "model.safetensors";
inline constexpr const char* kWeightIndex = "model.safetensors.index.json";
std::vector<HubFile> weights_of(const HubName& name, const HubListing& listing, const std::string& index);

}  // namespace attar
