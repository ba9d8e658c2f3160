// The C face of the runtime. Every exception ends here.
#include "runtime/attar_runtime.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <string>

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
  std::mutex in_use;

  attar_model(const char* name, int threads, bool fp32)
      : pool(threads),
        model(rt::Model::load(attar::ModelFile::open(name),
                              {.numerics = fp32 ? attar::Numerics::Fp32 : attar::Numerics::Deployed}, pool)),
        work(model, pool) {}
};

namespace {

thread_local std::string last_error;

void remember(const char* message) noexcept {
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";  // short enough to need none
  }
}

// Runs a call; `failed` turns an exit code into what the call returns.
template <class Call, class Failed>
auto guarded(Call&& call, Failed&& failed) noexcept -> decltype(call()) {
  try {
    last_error.clear();
    return call();
  } catch (const attar::Error& error) {
    remember(error.what());
    return failed(error.exit_code());
  } catch (const std::bad_alloc&) {
    remember("out of memory");
    return failed(static_cast<int>(attar::ErrorKind::Resources));
  } catch (const std::exception& error) {
    remember(error.what());
    return failed(static_cast<int>(attar::ErrorKind::Failure));
  } catch (...) {  // of a callback
    remember("an exception that is no std::exception");
    return failed(static_cast<int>(attar::ErrorKind::Failure));
  }
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

int generate(attar_model& model, const char* prompt, const attar_generate_options& options, attar_on_text on_text,
             void* user) {
  const auto alone = alone_with(model);
  rt::GenerateOptions how;
  how.max_tokens = options.max_tokens;
  how.seed = options.seed;
  how.sampling.temperature = options.temperature;
  how.sampling.top_k = options.top_k;
  how.sampling.top_p = options.top_p;
  how.sampling.min_p = options.min_p;
  how.sampling.repetition_penalty = options.repetition_penalty;
  rt::check(how.sampling);
  if (options.n_stop > 0) given(options.stop, "stop");
  for (size_t i = 0; i < options.n_stop; ++i) how.stop.emplace_back(given(options.stop[i], "a stop string"));
  rt::KvCache cache(model.model);
  const rt::Generated out =
      rt::generate(model.model, cache, prompt_tokens(model.model.tokenizer(), prompt, options), how, model.work,
                   [&](std::string_view text) {
                     return text.empty() || on_text == nullptr || on_text(text.data(), text.size(), user) == 0;
                   });
  return out.reason == rt::StopReason::Interrupted ? static_cast<int>(attar::ErrorKind::Interrupted) : 0;
}

}  // namespace

extern "C" {

attar_generate_options attar_default_options(void) {
  const rt::SampleOptions sampling;
  const rt::GenerateOptions options;
  return {options.max_tokens,
          sampling.temperature,
          sampling.top_k,
          sampling.top_p,
          sampling.min_p,
          sampling.repetition_penalty,
          options.seed,
          nullptr,
          0,
          nullptr,
          0,
          0};
}

attar_model* attar_open(const char* model, int threads, int fp32) {
  return guarded(
      [&] {
        if (threads < 0 || threads > attar::kMostThreads)
          throw attar::usage_error("threads", "is out of range", "0 to " + std::to_string(attar::kMostThreads),
                                   std::to_string(threads));
        return new attar_model(given(model, "model"), threads > 0 ? threads : attar::default_threads(), fp32 != 0);
      },
      [](int) { return static_cast<attar_model*>(nullptr); });
}

void attar_free(attar_model* model) {
  delete model;
}

int attar_generate(attar_model* model, const char* prompt, const attar_generate_options* options, attar_on_text on_text,
                   void* user) {
  return guarded(
      [&] {
        return generate(given(model), given(prompt, "prompt"), options != nullptr ? *options : attar_default_options(),
                        on_text, user);
      },
      [](int code) { return code; });
}

int64_t attar_score(attar_model* model, const char* text, int32_t* tokens, double* logprobs, int64_t capacity) {
  return guarded(
      [&] {
        const auto alone = alone_with(given(model));
        const std::vector<int32_t> ids = model->model.tokenizer().encode(given(text, "text"));
        const std::vector<double> scores = rt::score_tokens(model->model, ids, model->work);
        const auto n = std::min(ids.size(), static_cast<size_t>(std::max<int64_t>(capacity, 0)));
        if (tokens != nullptr) std::copy_n(ids.begin(), n, tokens);
        if (logprobs != nullptr) std::copy_n(scores.begin(), n, logprobs);
        return static_cast<int64_t>(ids.size());
      },
      [](int) { return int64_t{-1}; });
}

const char* attar_last_error(void) {
  return last_error.c_str();
}

}  // extern "C"
