// Work that is kept in a folder part by part, a file each: KIND-PART.safetensors, all of one identity.
#pragma once

#include <string>

#include "compress/kept/kept_file.h"

namespace attar {

class KeptParts {
 public:
  // An empty folder: nothing is kept. What was left half written there is swept, and all else is checked before time is
  // spent. Error{Usage}, saying what differs: parts of another identity. Error{Input}: they are damaged or of another
  // version.
  KeptParts(std::string folder, std::string kind, Identity identity);

  const std::string& folder() const { return folder_; }
  bool has(const std::string& part) const;
  std::string path(const std::string& part) const;
  // A part that is there, checked.
  KeptFile read(const std::string& part) const;
  // Nothing where nothing is kept.
  void write(const std::string& part, const std::string& json, std::vector<SafeTensor> tensors = {}) const;
  void write(const std::string& part, const std::string& json, const std::map<std::string, at::Tensor>& tensors) const;

 private:
  KeptFile checked(const std::string& path) const;

  std::string folder_, kind_;
  Identity identity_;
};

// Whether there are whole parts of the kind, which a run from the start would overwrite.
bool has_kept_parts(const std::string& folder, const std::string& kind);
// Once what they were kept for is written.
void remove_kept_parts(const std::string& folder, const std::string& kind);

}  // namespace attar
