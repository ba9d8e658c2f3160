// What callers give a model to read, as tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/c_api/engine.h"

namespace attar::c_api {

// A template that is not the model's own is noted.
std::vector<int32_t> tokens_of(Engine& engine, const attar_prompt* prompt);
// Of `n` prompts in a row.
std::vector<std::vector<int32_t>> tokens_of(Engine& engine, const attar_prompt* prompts, size_t n);

}  // namespace attar::c_api
