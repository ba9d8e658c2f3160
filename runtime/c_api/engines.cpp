// Engines: many texts at once, a step at a time.
#include <atomic>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "runtime/c_api/options.h"
#include "runtime/c_api/prompts.h"
#include "runtime/text/batch_engine.h"

namespace attar::c_api {
namespace {

namespace rt = attar::runtime;

constexpr size_t kFirstEngineBytes = offsetof(attar_engine_options, prompt_tokens) + sizeof(int64_t),
                 kFirstLoadBytes = offsetof(attar_engine_load, kept_bytes) + sizeof(uint64_t);

attar_engine_options default_engine() {
  const rt::EngineOptions options;
  return {.size_bytes = sizeof(attar_engine_options),
          .max_texts = options.max_sequences,
          .max_kv_bytes = options.max_kv_bytes,
          .kept_bytes = options.kept_bytes,
          .prompt_tokens = options.prompt_tokens};
}

struct Texts {
  Texts(std::shared_ptr<Engine> of, const attar_engine_options& o)
      : engine(std::move(of)),
        batch(engine->model, engine->work,
              {.max_sequences = o.max_texts,
               .max_kv_bytes = o.max_kv_bytes,
               .kept_bytes = o.kept_bytes,
               .prompt_tokens = o.prompt_tokens,
               .draft = engine->draft ? &*engine->draft : nullptr}) {}

  const std::shared_ptr<Engine> engine;
  rt::BatchEngine batch;
  Queue queue{};                         // for batch. Who steps has the turn first
  std::atomic<std::thread::id> owner{};  // who is inside
};

// The batch for oneself, for as long as this lives, in the order in which threads came; a callback of a step is inside
// already.
class Inside {
 public:
  explicit Inside(Texts& texts) : texts_(texts), enters_(texts.owner != std::this_thread::get_id()) {
    if (!enters_) return;
    texts_.queue.enter();
    texts_.owner = std::this_thread::get_id();
  }
  ~Inside() {
    if (!enters_) return;
    texts_.owner = std::thread::id();
    texts_.queue.leave();
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Texts& texts_;
  const bool enters_;
};

Handles<attar_engine, Texts>& engines() {
  static auto& handles = *new Handles<attar_engine, Texts>("engine");
  return handles;
}

// What ended a text before its time: a code, and one line that stays while callbacks call.
struct Reason {
  int code = ATTAR_OK;
  std::string line{};

  explicit Reason(const rt::Ended& ended) {
    if (ended.text.reason != rt::StopReason::Interrupted) return;
    code = code_of([&] {
      if (ended.error) std::rethrow_exception(ended.error);
      throw cancelled();
    });
    try {
      line = attar_last_error();
    } catch (const std::bad_alloc&) {
      line = "out of memory";  // short enough to need none
    }
  }
};

void tell_end(const rt::Ended& ended, attar_on_end on_end, void* user) {
  const rt::Generated& text = ended.text;
  const Reason reason(ended);
  const attar_ended out{.size_bytes = sizeof out,
                        .id = static_cast<int64_t>(ended.id),
                        .stop_reason = stop_code(text.reason),
                        .code = reason.code,
                        .error = reason.line.c_str(),
                        .prompt_tokens = ended.prompt_tokens,
                        .held_tokens = ended.held_tokens,
                        .passes = text.speculation.passes,
                        .guessed_tokens = text.speculation.guessed,
                        .accepted_tokens = text.speculation.accepted,
                        .tokens = text.tokens.data(),
                        .n_tokens = text.tokens.size(),
                        .text = text.text.c_str(),
                        .text_bytes = text.text.size()};
  on_end(&out, user);
}

rt::BatchRequest request_of(Engine& engine, std::vector<int32_t> prompt, const attar_generate_options& given_options,
                            attar_on_end on_end) {
  const auto options = std::make_shared<const attar_generate_options>(given_options);
  const auto flow = [](int answer) { return answer == 0 ? Flow::GoOn : Flow::Stop; };
  rt::BatchRequest request;
  request.prompt = std::move(prompt);
  request.options = runtime_options(*options, engine);
  if (options->on_logits != nullptr)
    request.options.on_logits = [options, flow](std::span<float> logits) {
      return flow(options->on_logits(logits.data(), logits.size(), options->user));
    };
  if (options->on_token != nullptr)
    request.on_token = [options, flow](int32_t token) { return flow(options->on_token(token, options->user)); };
  if (options->on_text != nullptr)
    request.on_text = [options, flow](std::string_view text) {
      return flow(options->on_text(text.data(), text.size(), options->user));
    };
  if (options->on_progress != nullptr)
    request.on_prompt = [options, flow](int64_t read, int64_t total) {
      return flow(options->on_progress(read, total, options->user));
    };
  if (on_end != nullptr)
    request.on_end = [options, on_end](const rt::Ended& ended) { tell_end(ended, on_end, options->user); };
  return request;
}

}  // namespace
}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

int attar_init_engine_options(attar_engine_options* options, size_t size_bytes) {
  return code_of([&] { write_defaults(options, size_bytes, default_engine(), kFirstEngineBytes); });
}

attar_engine* attar_engine_open(attar_model* model, const attar_engine_options* options) {
  attar_engine* handle = nullptr;
  code_of([&] {
    const attar_engine_options how = complete("options", options, default_engine(), kFirstEngineBytes);
    try {
      handle = engines().add(std::make_shared<Texts>(models().at(model), how));
    } catch (const attar::Error& error) {
      throw in_callers_words(error);
    }
  });
  return handle;
}

int attar_engine_free(attar_engine* engine) {
  return code_of([&] {
    if (engine != nullptr) engines().remove(engine);
  });
}

int64_t attar_engine_submit(attar_engine* engine, const attar_prompt* prompt, const attar_generate_options* options,
                            attar_on_end on_end) {
  int64_t id = -1;
  code_of([&] {
    const auto texts = engines().at(engine);
    auto request = request_of(*texts->engine, tokens_of(*texts->engine, prompt), completed(options), on_end);
    const Inside inside(*texts);
    id = static_cast<int64_t>(texts->batch.submit(std::move(request)));
  });
  return id;
}

int64_t attar_engine_step(attar_engine* engine) {
  int64_t left = -1;
  code_of([&] {
    const auto texts = engines().at(engine);
    const Turn turn(*texts->engine);
    const Inside inside(*texts);
    texts->batch.step();
    const rt::BatchEngine::Load load = texts->batch.load();
    left = load.active + load.waiting;
  });
  return left;
}

int attar_engine_cancel(attar_engine* engine, int64_t id) {
  return code_of([&] {
    const auto texts = engines().at(engine);
    const Inside inside(*texts);
    if (id < 1 || !texts->batch.cancel(static_cast<uint64_t>(id)))
      throw attar::usage_error("id", "is of no text that is under way or waiting", "", std::to_string(id));
  });
}

int attar_engine_get_load(attar_engine* engine, attar_engine_load* load) {
  return code_of([&] {
    const auto texts = engines().at(engine);
    check_size("load", given(load, "load")->size_bytes, kFirstLoadBytes, sizeof *load);
    const Inside inside(*texts);
    const rt::BatchEngine::Load now = texts->batch.load();
    const attar_engine_load all{load->size_bytes, now.active, now.waiting, now.kv_bytes, now.kept_bytes};
    std::memcpy(load, &all, all.size_bytes);
  });
}

}  // extern "C"
