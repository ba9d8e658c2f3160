#include "runtime/c_api/options.h"

#include <algorithm>
#include <utility>

#include "runtime/c_api/errors.h"
#include "runtime/text/generate_batch.h"

namespace attar::c_api {
namespace {

namespace rt = attar::runtime;

constexpr size_t kFirstOptionsBytes = offsetof(attar_generate_options, batch_size) + sizeof(int64_t);

// Where a field is not named as the flag or the option is.
struct FieldName {
  const char *inside, *field;
};
constexpr FieldName kFieldNames[] = {{"--logit-bias", "biases"}, {"max_sequences", "max_texts"}};

attar_generate_options default_options() {
  const rt::GenerateOptions options;
  attar_generate_options out{};
  out.size_bytes = sizeof out;
  out.max_tokens = options.max_tokens;
  out.temperature = options.sampling.temperature;
  out.top_k = options.sampling.top_k;
  out.top_p = options.sampling.top_p;
  out.min_p = options.sampling.min_p;
  out.repetition_penalty = options.sampling.repetition_penalty;
  out.repetition_window_tokens = options.sampling.repetition_window_tokens;
  out.seed = options.seed;
  out.lookup = options.lookup;
  out.batch_size = rt::BatchOptions{}.batch_size;
  return out;
}

rt::SampleOptions sampling_of(const attar_generate_options& options) {
  rt::SampleOptions sampling{.temperature = options.temperature,
                             .top_k = options.top_k,
                             .top_p = options.top_p,
                             .min_p = options.min_p,
                             .repetition_penalty = options.repetition_penalty,
                             .repetition_window_tokens = options.repetition_window_tokens};
  if (options.n_biases > 0) given(options.bias_tokens, "bias_tokens"), given(options.biases, "biases");
  for (size_t i = 0; i < options.n_biases; ++i) sampling.bias.push_back({options.bias_tokens[i], options.biases[i]});
  try {
    rt::check(sampling);
  } catch (const Error& error) {
    throw in_callers_words(error);
  }
  return sampling;
}

// What every text keeps to, or nullptr.
std::shared_ptr<rt::TokenGrammar> grammar_of(const attar_generate_options& options, Engine& engine) {
  const auto text = [](const char* given_text) { return std::string(given_text != nullptr ? given_text : ""); };
  return engine.grammars.of_either({text(options.grammar), "grammar"}, {text(options.json_schema), "json_schema"});
}

}  // namespace

Error in_callers_words(const Error& error) {
  Error::Parts parts = error.parts();
  for (const FieldName& name : kFieldNames)
    if (parts.where == name.inside) parts.where = name.field;
  if (parts.where.rfind("--", 0) == 0) {
    parts.where.erase(0, 2);
    std::replace(parts.where.begin(), parts.where.end(), '-', '_');
  }
  return {error.kind(), std::move(parts)};
}

attar_generate_options completed(const attar_generate_options* given_options) {
  return complete("options", given_options, default_options(), kFirstOptionsBytes);
}

rt::GenerateOptions runtime_options(const attar_generate_options& options, Engine& engine) {
  rt::GenerateOptions how;
  how.max_tokens = options.max_tokens;
  how.sampling = sampling_of(options);
  how.seed = options.seed;
  how.lookup = options.lookup;
  how.keeps_to = grammar_of(options, engine);
  if (options.n_stop > 0) given(options.stop, "stop");
  for (size_t i = 0; i < options.n_stop; ++i) how.stop.emplace_back(given(options.stop[i], "a stop text"));
  if (options.on_logits != nullptr)
    how.on_logits = [&options](std::span<float> logits) {
      return options.on_logits(logits.data(), logits.size(), options.user) == 0 ? Flow::GoOn : Flow::Stop;
    };
  return how;
}

int stop_code(rt::StopReason reason) {
  switch (reason) {
    case rt::StopReason::EndOfText:
      return ATTAR_STOP_END_OF_TEXT;
    case rt::StopReason::StopString:
      return ATTAR_STOP_TEXT;
    case rt::StopReason::MaxTokens:
      return ATTAR_STOP_MAX_TOKENS;
    case rt::StopReason::ContextFull:
      return ATTAR_STOP_CONTEXT_FULL;
    case rt::StopReason::Interrupted:
      return ATTAR_STOP_CANCELLED;
  }
  return 0;
}

}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

int attar_init_generate_options(attar_generate_options* options, size_t size_bytes) {
  return code_of([&] { write_defaults(options, size_bytes, default_options(), kFirstOptionsBytes); });
}

}  // extern "C"
