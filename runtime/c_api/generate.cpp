// Text from a model: one session's, or a batch.
#include <functional>
#include <string_view>

#include "runtime/c_api/options.h"
#include "runtime/c_api/prompts.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/text/generate_batch.h"

namespace attar::c_api {
namespace {

namespace rt = attar::runtime;

constexpr size_t kFirstGeneratedBytes = offsetof(attar_generated, accepted_tokens) + sizeof(int64_t);

// One attar_generate. Callbacks but on_logits are called between turns.
class Generation {
 public:
  Generation(Session& session, std::vector<int32_t> prompt, const attar_generate_options& options, attar_generated& out)
      : session_(session),
        engine_(*session.engine),
        options_(options),
        how_(runtime_options(options, engine_)),
        prompt_(std::move(prompt)),
        out_(out) {
    const int64_t context = engine_.model.config().context_length;
    if (static_cast<int64_t>(prompt_.size()) > context)
      throw input_error("the prompt", "is longer than the model's context",
                        "at most " + std::to_string(context) + " tokens", std::to_string(prompt_.size()));
    out_.prompt_tokens = static_cast<int64_t>(prompt_.size());
    out_.held_tokens = static_cast<int64_t>(session_.said.begin(prompt_));
  }
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  void run() {
    const Held held{*this};
    how_.draft = engine_.draft ? &*engine_.draft : nullptr;
    rt::Continuation text(engine_.model, session_.said.cache(), prompt_, std::move(how_), engine_.work);
    if (options_.max_tokens > 0) read_prompt();  // no sooner: what is wrong with the options is said at once
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
  rt::GenerateOptions how_;
  const std::vector<int32_t> prompt_;
  std::vector<int32_t> text_;
  attar_generated& out_;
};

// attar_cancel is meant for one call, even where it came too late for it or the call failed before it began.
struct CancelledOnce {
  Session& session;
  ~CancelledOnce() { session.cancelled = false; }
};

void refuse_in_batch(bool asked, const char* name) {
  if (asked) throw usage_error(name, "is not for a batch");
}

rt::BatchOptions batch_options(const attar_generate_options& options, Engine& engine) {
  refuse_in_batch(options.on_text != nullptr, "on_text");
  refuse_in_batch(options.on_token != nullptr, "on_token");
  refuse_in_batch(options.on_logits != nullptr, "on_logits");
  rt::BatchOptions how{.text = runtime_options(options, engine), .batch_size = options.batch_size};
  how.text.draft = engine.draft ? &*engine.draft : nullptr;
  return how;
}

int give(const Tokenizer& tokenizer, size_t index, rt::BatchResult result, attar_on_answer on_answer, void* user) {
  if (!result.tokens.empty() && tokenizer.ends_generation(result.tokens.back())) result.tokens.pop_back();
  const attar_answer answer{.size_bytes = sizeof answer,
                            .index = index,
                            .stop_reason = stop_code(result.reason),
                            .prompt_tokens = static_cast<int64_t>(result.prompt.size()),
                            .tokens = result.tokens.data(),
                            .n_tokens = result.tokens.size(),
                            .text = result.text.c_str(),
                            .text_bytes = result.text.size()};
  return on_answer(&answer, user);
}

void generate_batch(Engine& engine, const std::vector<std::vector<int32_t>>& prompts,
                    const attar_generate_options& options, attar_on_answer on_answer, void* user) {
  const rt::BatchOptions how = batch_options(options, engine);
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
    const CancelledOnce once{*of};
    const attar_generate_options how = completed(options);
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
    const attar_generate_options how = completed(options);
    generate_batch(*engine, tokens_of(*engine, prompts, n), how, on_answer, user);
  });
}

}  // extern "C"
