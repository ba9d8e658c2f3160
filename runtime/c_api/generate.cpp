// Text from a model: one session's, or a batch.
#include <functional>
#include <string_view>

#include "runtime/c_api/prompts.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/text/generate_batch.h"

namespace attar::c_api {
namespace {

namespace rt = attar::runtime;

constexpr size_t kFirstOptionsBytes = offsetof(attar_generate_options, batch_size) + sizeof(int64_t),
                 kFirstGeneratedBytes = offsetof(attar_generated, accepted_tokens) + sizeof(int64_t);

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
  const rt::SampleOptions sampling{.temperature = options.temperature,
                                   .top_k = options.top_k,
                                   .top_p = options.top_p,
                                   .min_p = options.min_p,
                                   .repetition_penalty = options.repetition_penalty,
                                   .repetition_window_tokens = options.repetition_window_tokens};
  rt::check(sampling);
  return sampling;
}

rt::GenerateOptions runtime_options(const attar_generate_options& options, Engine& engine) {
  rt::GenerateOptions how;
  how.max_tokens = options.max_tokens;
  how.sampling = sampling_of(options);
  how.seed = options.seed;
  how.lookup = options.lookup;
  how.draft = engine.draft ? &*engine.draft : nullptr;
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

// One attar_generate. Callbacks but on_logits are called between turns.
class Generation {
 public:
  Generation(Session& session, std::vector<int32_t> prompt, const attar_generate_options& options, attar_generated& out)
      : session_(session), engine_(*session.engine), options_(options), prompt_(std::move(prompt)), out_(out) {
    const int64_t context = engine_.model.config().context_length;
    if (static_cast<int64_t>(prompt_.size()) > context)
      throw input_error("the prompt", "is longer than the model's context",
                        "at most " + std::to_string(context) + " tokens", std::to_string(prompt_.size()));
    out_.prompt_tokens = static_cast<int64_t>(prompt_.size());
    out_.held_tokens = static_cast<int64_t>(session_.said.begin(prompt_));
  }
  ~Generation() { session_.cancelled = false; }  // meant for this call, even where it came too late for it
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  void run() {
    if (options_.max_tokens > 0) read_prompt();
    const Held held{*this};
    rt::Continuation text(engine_.model, session_.said.cache(), prompt_, runtime_options(options_, engine_),
                          engine_.work);
    while (const std::optional<std::string> piece = next(text)) {
      give(text);
      const bool go_on = piece->empty() || options_.on_text == nullptr ||
                         options_.on_text(piece->data(), piece->size(), options_.user) == 0;
      if (!go_on && !text.ended()) throw cancelled();
    }
    out_.stop_reason = stop_code(text.result().reason);
  }

 private:
  // What the session holds is told behind the end of the text, which cuts the cache.
  struct Held {
    Generation& of;
    ~Held() { of.session_.said.hold(of.prompt_, of.text_); }
  };

  void check_cancelled() const {
    if (session_.cancelled) throw cancelled();
  }

  void read_prompt() {
    for (bool more = true; more;) {
      check_cancelled();
      {
        const Turn turn(engine_);
        more = session_.said.read_pass(prompt_, engine_.work);
      }
      const auto done = static_cast<int64_t>(session_.said.tokens().size());
      if (more && options_.on_progress != nullptr && options_.on_progress(done, out_.prompt_tokens, options_.user) != 0)
        throw cancelled();
    }
  }

  std::optional<std::string> next(rt::Continuation& text) {
    check_cancelled();
    const Turn turn(engine_);
    return text.next();
  }

  // The tokens that have come, and counts.
  void give(const rt::Continuation& text) {
    const rt::Generated& now = text.result();
    out_.generated_tokens = static_cast<int64_t>(now.tokens.size());
    out_.passes = now.speculation.passes;
    out_.guessed_tokens = now.speculation.guessed;
    out_.accepted_tokens = now.speculation.accepted;
    while (text_.size() < now.tokens.size()) {
      text_.push_back(now.tokens[text_.size()]);
      if (options_.on_token != nullptr && options_.on_token(text_.back(), options_.user) != 0) throw cancelled();
    }
  }

  Session& session_;
  Engine& engine_;
  const attar_generate_options& options_;
  const std::vector<int32_t> prompt_;
  std::vector<int32_t> text_;
  attar_generated& out_;
};

void refuse_in_batch(bool asked, const char* name) {
  if (asked) throw usage_error(name, "is not for a batch");
}

rt::BatchOptions batch_options(const attar_generate_options& options) {
  refuse_in_batch(options.n_stop > 0, "stop");
  refuse_in_batch(options.lookup != 0, "lookup");
  refuse_in_batch(options.on_text != nullptr, "on_text");
  refuse_in_batch(options.on_token != nullptr, "on_token");
  refuse_in_batch(options.on_logits != nullptr, "on_logits");
  return {.max_tokens = options.max_tokens,
          .sampling = sampling_of(options),
          .seed = options.seed,
          .batch_size = options.batch_size};
}

std::string text_of(const Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  std::string bytes;
  for (const int32_t token : tokens)
    if (!tokenizer.is_control(token)) bytes += tokenizer.token_bytes(token);
  return replace_invalid_utf8(bytes);
}

int give(const Tokenizer& tokenizer, size_t index, rt::BatchResult result, attar_on_answer on_answer, void* user) {
  if (result.reason == rt::StopReason::EndOfText) result.tokens.pop_back();
  const std::string text = text_of(tokenizer, result.tokens);
  const attar_answer answer{.size_bytes = sizeof answer,
                            .index = index,
                            .stop_reason = stop_code(result.reason),
                            .prompt_tokens = static_cast<int64_t>(result.prompt.size()),
                            .tokens = result.tokens.data(),
                            .n_tokens = result.tokens.size(),
                            .text = text.c_str(),
                            .text_bytes = text.size()};
  return on_answer(&answer, user);
}

void generate_batch(Engine& engine, const std::vector<std::vector<int32_t>>& prompts,
                    const attar_generate_options& options, attar_on_answer on_answer, void* user) {
  const rt::BatchOptions how = batch_options(options);
  const auto total = static_cast<int64_t>(prompts.size());
  size_t asked = 0, given_answers = 0;
  bool stopped = false;
  const auto source = [&]() -> std::optional<rt::BatchSequence> {
    if (asked == prompts.size()) return std::nullopt;
    const size_t index = asked++;
    return rt::BatchSequence{.id = index, .prompt = prompts[index]};
  };
  const auto take = [&](rt::BatchResult result) {
    stopped = give(engine.model.tokenizer(), given_answers++, std::move(result), on_answer, user) != 0;
    return stopped ? Flow::Stop : Flow::GoOn;
  };
  const auto progress = [&](const Event& event) {
    if (options.on_progress == nullptr) return Flow::GoOn;
    return options.on_progress(event.done, total, options.user) == 0 ? Flow::GoOn : Flow::Stop;
  };
  const Turn turn(engine);
  rt::generate_batch(engine.model, source, how, engine.work, take, progress);
  if (stopped) throw cancelled();
}

}  // namespace
}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

int attar_init_generate_options(attar_generate_options* options, size_t size_bytes) {
  return code_of([&] { write_defaults(options, size_bytes, default_options(), kFirstOptionsBytes); });
}

int attar_generate(attar_session* session, const attar_prompt* prompt, const attar_generate_options* options,
                   attar_generated* generated) {
  attar_generated out{};
  const int code = code_of([&] {
    if (generated != nullptr) {
      check_size("generated", generated->size_bytes, kFirstGeneratedBytes, sizeof out);
      out.size_bytes = generated->size_bytes;
    }
    const auto of = sessions().at(session);
    const SessionCall call(*of);
    const attar_generate_options how = complete("options", options, default_options(), kFirstOptionsBytes);
    Generation(*of, tokens_of(*of->engine, prompt), how, out).run();
  });
  if (code == ATTAR_CANCELLED) out.stop_reason = ATTAR_STOP_CANCELLED;
  if (out.size_bytes != 0) std::memcpy(generated, &out, out.size_bytes);
  return code;
}

int attar_batch(attar_model* model, const attar_prompt* prompts, size_t n, const attar_generate_options* options,
                attar_on_answer on_answer, void* user) {
  return code_of([&] {
    const auto engine = models().at(model);
    given(on_answer, "on_answer");
    const attar_generate_options how = complete("options", options, default_options(), kFirstOptionsBytes);
    generate_batch(*engine, tokens_of(*engine, prompts, n), how, on_answer, user);
  });
}

}  // extern "C"
