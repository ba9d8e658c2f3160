// attar_generate_options as the runtime has them.
#pragma once

#include "runtime/attar_runtime.h"
#include "runtime/base/error.h"
#include "runtime/c_api/engine.h"
#include "runtime/text/generate.h"

namespace attar::c_api {

// What the caller gave, or nullptr, with the defaults of what its header does not have.
attar_generate_options completed(const attar_generate_options* given_options);

// Of a text, but for a model's draft; on_logits reads `options`, which must outlive it.
runtime::GenerateOptions runtime_options(const attar_generate_options& options, Engine& engine);
int stop_code(runtime::StopReason reason);

// The same error with the caller's field where it names a flag of attar-run or an option of the runtime.
Error in_callers_words(const Error& error);

}  // namespace attar::c_api
