// A MODEL on the Hugging Face hub, brought here: from the cache that huggingface_hub shares, else from the hub into it.
#pragma once

#include <string>

#include "recipes/hub/hub_listing.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"

namespace attar {

struct HubModel {
  std::string path;    // of the GGUF (its first part) or of the Hugging Face directory
  std::string pinned;  // the name with its commit: what a run records
};

// What the cache holds of a revision is taken without asking the hub again. Error{Usage, Input}: the name, what it may
// mean, who may read it. Error{Failure}: the hub, or offline and not in the cache. Error{Resources}: the disk.
HubModel fetch_hub_model(const std::string& model, HubPart part = HubPart::Model, const Progress& progress = {});

// For ModelFile::open and resolve_model_path. `progress` must outlive it: a copy of Python's would need the
// interpreter.
ModelSource hub_source(const Progress& progress);

// MODEL with the commit that it means now; one that is not on the hub stays as it is.
std::string pinned_model(const std::string& model, HubPart part, const Progress& progress);

}  // namespace attar
