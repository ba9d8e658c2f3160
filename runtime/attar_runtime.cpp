// The C face of the runtime. Every exception ends here.
#include "runtime/attar_runtime.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/formats/model_text.h"
#include "runtime/judge/score.h"
#include "runtime/text/generate.h"

namespace rt = attar::runtime;

struct attar_model {
  attar::ThreadPool pool;
  rt::Model model;
  rt::Workspace work;
  std::optional<rt::Draft> draft{};
  std::mutex in_use{};

  attar_model(const char* name, int threads, const rt::LoadOptions& options)
      : pool(threads), model(rt::Model::load(attar::ModelFile::open(name), options, pool)), work(model, pool) {}
};

namespace {

// The codes of the header are the exit codes.
static_assert(ATTAR_FAILED == static_cast<int>(attar::ErrorKind::Failure) &&
              ATTAR_BAD_ARGUMENT == static_cast<int>(attar::ErrorKind::Usage) &&
              ATTAR_BAD_FILE == static_cast<int>(attar::ErrorKind::Input) &&
              ATTAR_OUT_OF_RESOURCES == static_cast<int>(attar::ErrorKind::Resources) &&
              ATTAR_CANCELLED == static_cast<int>(attar::ErrorKind::Interrupted));

thread_local std::string last_error;
thread_local int last_code = ATTAR_OK;

int remember(int code, const char* message) noexcept {
  last_code = code;
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";  // short enough to need none
  }
  return code;
}

// Runs a call; -> its code, remembered after whatever a callback called meanwhile.
template <class Call>
int code_of(Call&& call) noexcept {
  try {
    call();
    return remember(ATTAR_OK, "");
  } catch (const attar::Error& error) {
    return remember(error.exit_code(), error.what());
  } catch (const std::bad_alloc&) {
    return remember(ATTAR_OUT_OF_RESOURCES, "out of memory");
  } catch (const std::system_error& error) {  // no thread to be had
    return remember(ATTAR_OUT_OF_RESOURCES, error.what());
  } catch (const std::exception& error) {
    return remember(ATTAR_FAILED, error.what());
  } catch (...) {  // of a callback
    return remember(ATTAR_FAILED, "an exception that is no std::exception");
  }
}

// Members that a struct of the first version has; later ones may be missing in a caller's.
constexpr size_t kFirstOptionsBytes = offsetof(attar_generate_options, special) + sizeof(int),
                 kFirstGeneratedBytes = offsetof(attar_generated, generated_tokens) + sizeof(int64_t),
                 kFirstOpenBytes = offsetof(attar_open_options, draft) + sizeof(const char*);

void check_size(const char* name, size_t size_bytes, size_t least, size_t most) {
  if (size_bytes < least || size_bytes > most)
    throw attar::usage_error(
        name, "has a size that this library (" ATTAR_VERSION ") does not know",
        least == most ? std::to_string(most) : std::to_string(least) + " to " + std::to_string(most),
        std::to_string(size_bytes), "set size_bytes to sizeof the struct");
}

// Held for the length of a call.
std::unique_lock<std::mutex> alone_with(attar_model& model) {
  std::unique_lock lock(model.in_use, std::try_to_lock);
  if (!lock) throw attar::usage_error("model", "serves another call", "one call at a time");
  return lock;
}

template <class T>
T* given(T* pointer, const char* name) {
  if (pointer == nullptr) throw attar::usage_error(name, "is NULL");
  return pointer;
}

attar_model& given(attar_model* model) {
  return *given(model, "model");
}

std::vector<int32_t> prompt_tokens(const attar::Tokenizer& tokenizer, const char* prompt,
                                   const attar_generate_options& options) {
  attar::TextReader reader(tokenizer, {.special = options.special != 0, .day = attar::Day::Today});
  attar::Prompt asked{.text = prompt, .chat = options.chat != 0};
  if (options.system != nullptr) asked.system = options.system;
  return reader.prompt_tokens(asked);
}

attar_generate_options default_options() {
  const rt::SampleOptions sampling;
  const rt::GenerateOptions options;
  return {.size_bytes = sizeof(attar_generate_options),
          .max_tokens = options.max_tokens,
          .temperature = sampling.temperature,
          .top_k = sampling.top_k,
          .top_p = sampling.top_p,
          .min_p = sampling.min_p,
          .repetition_penalty = sampling.repetition_penalty,
          .seed = options.seed,
          .stop = nullptr,
          .n_stop = 0,
          .system = nullptr,
          .chat = 0,
          .special = 0,
          .lookup = options.lookup};
}

// What the caller gave, and the defaults for what its header did not have yet.
attar_generate_options complete(const attar_generate_options* given_options) {
  attar_generate_options options = default_options();
  if (given_options == nullptr) return options;
  check_size("options", given_options->size_bytes, kFirstOptionsBytes, sizeof options);
  std::memcpy(&options, given_options, given_options->size_bytes);
  return options;
}

rt::GenerateOptions runtime_options(const attar_generate_options& options) {
  rt::GenerateOptions how;
  how.max_tokens = options.max_tokens;
  how.seed = options.seed;
  how.lookup = options.lookup;
  how.sampling.temperature = options.temperature;
  how.sampling.top_k = options.top_k;
  how.sampling.top_p = options.top_p;
  how.sampling.min_p = options.min_p;
  how.sampling.repetition_penalty = options.repetition_penalty;
  rt::check(how.sampling);
  if (options.n_stop > 0) given(options.stop, "stop");
  for (size_t i = 0; i < options.n_stop; ++i) how.stop.emplace_back(given(options.stop[i], "a stop string"));
  return how;
}

// What the caller gave, or nullptr, and the defaults.
attar_open_options complete(const attar_open_options* given_options) {
  attar_open_options options = {.size_bytes = sizeof options, .threads = 0, .fp32 = 0, .kv = nullptr, .draft = nullptr};
  if (given_options == nullptr) return options;
  check_size("options", given_options->size_bytes, kFirstOpenBytes, sizeof options);
  std::memcpy(&options, given_options, given_options->size_bytes);
  return options;
}

attar_model* open(const char* name, const attar_open_options& options) {
  const int threads = options.threads;
  if (threads < 0 || threads > attar::kMostThreads)
    throw attar::usage_error("threads", "is out of range", "0 to " + std::to_string(attar::kMostThreads),
                             std::to_string(threads));
  const attar::Numerics numerics = options.fp32 != 0 ? attar::Numerics::Fp32 : attar::Numerics::Deployed;
  const char* kv = options.kv != nullptr ? options.kv : "";
  auto model = std::make_unique<attar_model>(
      name, threads > 0 ? threads : attar::default_threads(),
      rt::LoadOptions{.numerics = numerics, .kv = attar::kv_format_of(kv, "kv", numerics)});
  if (options.draft != nullptr)
    model->draft.emplace(rt::Model::load(attar::ModelFile::open(options.draft), {.numerics = numerics}, model->pool),
                         model->model, model->pool);
  return model.release();
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

void generate(attar_model& model, const char* prompt, const attar_generate_options& options,
              const std::function<bool(std::string_view)>& go_on, attar_generated& generated) {
  const auto alone = alone_with(model);
  rt::GenerateOptions how = runtime_options(options);
  how.draft = model.draft ? &*model.draft : nullptr;
  const std::vector<int32_t> tokens = prompt_tokens(model.model.tokenizer(), prompt, options);
  generated.prompt_tokens = static_cast<int64_t>(tokens.size());
  rt::KvCache cache(model.model);
  const rt::Generated out = rt::generate(
      model.model, cache, tokens, how, model.work, [&](std::string_view text) { return text.empty() || go_on(text); },
      [&](const attar::Event&) { return go_on("") ? attar::Flow::GoOn : attar::Flow::Stop; });
  generated.stop_reason = stop_code(out.reason);
  generated.generated_tokens = static_cast<int64_t>(out.tokens.size());
  generated.passes = out.speculation.passes;
  generated.guessed_tokens = out.speculation.guessed;
  generated.accepted_tokens = out.speculation.accepted;
  if (out.reason == rt::StopReason::Interrupted)
    throw attar::Error(attar::ErrorKind::Interrupted, {.where = "generate", .what = "interrupted"});
}

}  // namespace

extern "C" {

const char* attar_version(void) {
  return ATTAR_VERSION;
}

const char* attar_last_error(void) {
  return last_error.c_str();
}

int attar_last_code(void) {
  return last_code;
}

attar_model* attar_open(const char* model, int threads, int fp32) {
  attar_open_options options = complete(static_cast<const attar_open_options*>(nullptr));
  options.threads = threads, options.fp32 = fp32;
  return attar_open_with(model, &options);
}

int attar_init_open_options(attar_open_options* options, size_t size_bytes) {
  return code_of([&] {
    given(options, "options");
    check_size("options", size_bytes, kFirstOpenBytes, sizeof *options);
    attar_open_options defaults = complete(static_cast<const attar_open_options*>(nullptr));
    defaults.size_bytes = size_bytes;
    std::memcpy(options, &defaults, size_bytes);
  });
}

attar_model* attar_open_with(const char* model, const attar_open_options* options) {
  attar_model* opened = nullptr;
  code_of([&] { opened = open(given(model, "model"), complete(options)); });
  return opened;
}

void attar_free(attar_model* model) {
  delete model;
}

size_t attar_note_count(const attar_model* model) {
  return model != nullptr ? model->model.notes().size() : 0;
}

const char* attar_note(const attar_model* model, size_t index) {
  return index < attar_note_count(model) ? model->model.notes()[index].c_str() : nullptr;
}

int attar_init_options(attar_generate_options* options, size_t size_bytes) {
  return code_of([&] {
    given(options, "options");
    check_size("options", size_bytes, kFirstOptionsBytes, sizeof *options);
    attar_generate_options defaults = default_options();
    defaults.size_bytes = size_bytes;
    std::memcpy(options, &defaults, size_bytes);
  });
}

int attar_generate(attar_model* model, const char* prompt, const attar_generate_options* options, attar_on_text on_text,
                   void* user, attar_generated* generated) {
  attar_generated out{};
  const int code = code_of([&] {
    if (generated != nullptr) {
      check_size("generated", generated->size_bytes, kFirstGeneratedBytes, sizeof out);
      out.size_bytes = generated->size_bytes;
    }
    generate(
        given(model), given(prompt, "prompt"), complete(options),
        [&](std::string_view text) { return on_text == nullptr || on_text(text.data(), text.size(), user) == 0; }, out);
  });
  if (code == ATTAR_CANCELLED) out.stop_reason = ATTAR_STOP_CANCELLED;  // also while the prompt was read
  if (out.size_bytes != 0) std::memcpy(generated, &out, out.size_bytes);
  return code;
}

int64_t attar_score(attar_model* model, const char* text, int32_t* tokens, double* logprobs, int64_t capacity) {
  int64_t n_tokens = -1;
  code_of([&] {
    const auto alone = alone_with(given(model));
    const std::vector<int32_t> ids = model->model.tokenizer().encode(given(text, "text"));
    const std::vector<double> scores = rt::score_tokens(model->model, ids, model->work);
    const auto n = std::min(ids.size(), static_cast<size_t>(std::max<int64_t>(capacity, 0)));
    if (tokens != nullptr) std::copy_n(ids.begin(), n, tokens);
    if (logprobs != nullptr) std::copy_n(scores.begin(), n, logprobs);
    n_tokens = static_cast<int64_t>(ids.size());
  });
  return n_tokens;
}

}  // extern "C"
