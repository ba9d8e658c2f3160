// Embeddings: a text as one vector, from the hidden states behind the output norm, which are what Hugging Face calls
// last_hidden_state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/model/model.h"

namespace attar::runtime {

enum class Pooling { Mean, Last };            // of the states of all tokens, or that of the last
enum class Length { One, Own };               // of a vector: scaled to 1, or as it is
Pooling pooling_of(const std::string& name);  // "mean", "last"; else Error{Usage}

struct EmbedOptions {
  Pooling pooling = Pooling::Mean;
  Length length = Length::One;
};

// A row a text: (texts, C). Texts are read together, as many as a pass holds; a text's numbers do not depend on it.
// Error{Usage}: a text has no token; Error{Input}: it is longer than the context.
std::vector<float> embed(const Model& model, std::span<const std::vector<int32_t>> texts, const EmbedOptions& options,
                         Workspace& work, const Progress& progress = {});

}  // namespace attar::runtime
