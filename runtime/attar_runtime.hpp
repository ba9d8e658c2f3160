// libattar_runtime for C++17 and newer, in this header alone: handles that free themselves, failures as attar::Failure.
// What each call means and may fail with stands in attar_runtime.h, which this only wraps; so do threads and fork.
//
//   attar::Model model("model.gguf");
//   attar::Session session(model);
//   std::string text = session.generate(attar::Prompt::chat({{"user", "Hello"}}));
#ifndef ATTAR_RUNTIME_HPP
#define ATTAR_RUNTIME_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "attar_runtime.h"

namespace attar {

class Failure : public std::runtime_error {
 public:
  Failure() : std::runtime_error(attar_last_error()), code_(attar_last_code()) {}
  int code() const { return code_; }  // ATTAR_...

 private:
  int code_;
};

namespace detail {

inline void check(int code) {
  if (code != ATTAR_OK) throw Failure();
}
inline int64_t counted(int64_t n) {
  if (n < 0) throw Failure();
  return n;
}
template <class Handle>
Handle* opened(Handle* handle) {
  if (handle == nullptr) throw Failure();
  return handle;
}
struct Free {
  void operator()(attar_model* model) const { attar_free(model); }
  void operator()(attar_session* session) const { attar_session_free(session); }
  void operator()(attar_engine* engine) const { attar_engine_free(engine); }
};
// Asks how much there is, then for all of it.
template <class Values, class Call>
Values all(Call&& call) {
  Values values(static_cast<size_t>(counted(call(nullptr, 0))), typename Values::value_type());
  counted(call(values.data(), static_cast<int64_t>(values.size())));
  return values;
}

}  // namespace detail

inline attar_open_options open_options() {
  attar_open_options options;
  detail::check(attar_init_open_options(&options, sizeof options));
  return options;
}
inline attar_generate_options generate_options() {
  attar_generate_options options;
  detail::check(attar_init_generate_options(&options, sizeof options));
  return options;
}
inline attar_embed_options embed_options() {
  attar_embed_options options;
  detail::check(attar_init_embed_options(&options, sizeof options));
  return options;
}

inline attar_engine_options engine_options() {
  attar_engine_options options;
  detail::check(attar_init_engine_options(&options, sizeof options));
  return options;
}

struct Message {
  std::string role, content;
};

// An attar_prompt that owns what it points to.
class Prompt {
 public:
  static Prompt text(std::string text) {
    Prompt prompt;
    prompt.text_ = std::move(text);
    return prompt;
  }
  static Prompt chat(std::vector<Message> messages) {
    Prompt prompt;
    prompt.messages_ = std::move(messages);
    prompt.kind_ = Kind::Chat;
    return prompt;
  }
  static Prompt tokens(std::vector<int32_t> tokens) {
    Prompt prompt;
    prompt.tokens_ = std::move(tokens);
    prompt.kind_ = Kind::Tokens;
    return prompt;
  }
  Prompt& special(bool meant = true) { return special_ = meant, *this; }
  Prompt& complete(bool whole = true) { return complete_ = whole, *this; }

  // What it points to is this object's and `messages`'.
  attar_prompt view(std::vector<attar_message>& messages) const {
    attar_prompt prompt{};
    prompt.size_bytes = sizeof prompt;
    if (kind_ == Kind::Text) {
      prompt.text = text_.c_str();
      prompt.text_bytes = text_.size();
    } else if (kind_ == Kind::Chat) {
      messages.clear();
      for (const Message& message : messages_)
        messages.push_back({message.role.c_str(), message.content.c_str(), nullptr});
      prompt.messages = messages.data();
      prompt.n_messages = messages.size();
    } else {
      prompt.tokens = tokens_.data();
      prompt.n_tokens = tokens_.size();
    }
    prompt.special = special_ ? 1 : 0;
    prompt.complete = complete_ ? 1 : 0;
    return prompt;
  }

 private:
  enum class Kind { Text, Chat, Tokens };
  Prompt() = default;

  Kind kind_ = Kind::Text;
  std::string text_;
  std::vector<Message> messages_;
  std::vector<int32_t> tokens_;
  bool special_ = false, complete_ = false;
};

class Model {
 public:
  explicit Model(const std::string& model, const attar_open_options& options = open_options())
      : handle_(detail::opened(attar_open(model.c_str(), &options))) {}
  static Model from_memory(const void* gguf, size_t size_bytes, const attar_open_options& options = open_options()) {
    return Model(attar_open_memory(gguf, size_bytes, &options));
  }
  static Model from_descriptor(int descriptor, const attar_open_options& options = open_options()) {
    return Model(attar_open_fd(descriptor, &options));
  }

  attar_model* handle() const { return handle_.get(); }
  attar_model_info info() const {
    attar_model_info info{};
    info.size_bytes = sizeof info;
    detail::check(attar_info(handle(), &info));
    return info;
  }
  std::vector<std::string> notes() const {
    std::vector<std::string> notes;
    for (size_t i = 0; const char* note = attar_note(handle(), i); ++i) notes.emplace_back(note);
    return notes;
  }
  std::vector<int32_t> tokenize(const Prompt& prompt) const {
    std::vector<attar_message> messages;
    const attar_prompt view = prompt.view(messages);
    return detail::all<std::vector<int32_t>>(
        [&](int32_t* into, int64_t n) { return attar_tokenize(handle(), &view, into, n); });
  }
  std::string detokenize(const std::vector<int32_t>& tokens, bool special = false) const {
    return detail::all<std::string>([&](char* into, int64_t n) {
      return attar_detokenize(handle(), tokens.data(), tokens.size(), special ? 1 : 0, into, n);
    });
  }
  std::vector<double> score(const Prompt& prompt) const {
    std::vector<attar_message> messages;
    const attar_prompt view = prompt.view(messages);
    std::vector<double> logprobs(static_cast<size_t>(detail::counted(attar_tokenize(handle(), &view, nullptr, 0))));
    detail::counted(attar_score(handle(), &view, nullptr, logprobs.data(), static_cast<int64_t>(logprobs.size())));
    return logprobs;
  }
  // A vector for each prompt.
  std::vector<std::vector<float>> embed(const std::vector<Prompt>& prompts,
                                        const attar_embed_options& options = embed_options()) const {
    std::vector<std::vector<attar_message>> messages(prompts.size());
    std::vector<attar_prompt> views;
    for (size_t i = 0; i < prompts.size(); ++i) views.push_back(prompts[i].view(messages[i]));
    const auto width = static_cast<size_t>(info().width);
    std::vector<float> numbers(prompts.size() * width);
    detail::check(attar_embed(handle(), views.data(), views.size(), &options, numbers.data(), numbers.size()));
    std::vector<std::vector<float>> vectors;
    for (auto at = numbers.begin(); at != numbers.end(); at += static_cast<std::ptrdiff_t>(width))
      vectors.emplace_back(at, at + static_cast<std::ptrdiff_t>(width));
    return vectors;
  }

 private:
  explicit Model(attar_model* handle) : handle_(detail::opened(handle)) {}

  std::unique_ptr<attar_model, detail::Free> handle_;
};

class Session {
 public:
  explicit Session(const Model& model) : handle_(detail::opened(attar_session_open(model.handle()))) {}

  attar_session* handle() const { return handle_.get(); }
  Session fork() const { return Session(attar_session_fork(handle())); }
  void cancel() const { detail::check(attar_cancel(handle())); }
  void save(const std::string& path) const { detail::check(attar_session_save(handle(), path.c_str())); }
  void restore(const std::string& path) { detail::check(attar_session_restore(handle(), path.c_str())); }

  // The whole text. `on_text` sees each piece and returns false to stop; what it throws comes out here. Callbacks in
  // `options` are not called: who wants them calls attar_generate with this handle().
  std::string generate(const Prompt& prompt, attar_generate_options options = generate_options(),
                       const std::function<bool(const std::string&)>& on_text = {},
                       attar_generated* generated = nullptr) {
    std::vector<attar_message> messages;
    const attar_prompt view = prompt.view(messages);
    Pieces pieces{on_text, {}, nullptr};
    options.user = &pieces;
    options.on_text = take;
    options.on_token = nullptr;
    options.on_logits = nullptr;
    options.on_progress = nullptr;
    const int code = attar_generate(handle(), &view, &options, generated);
    if (pieces.thrown) std::rethrow_exception(pieces.thrown);
    detail::check(code);
    return std::move(pieces.text);
  }

 private:
  explicit Session(attar_session* handle) : handle_(detail::opened(handle)) {}

  struct Pieces {
    const std::function<bool(const std::string&)>& on_text;
    std::string text;
    std::exception_ptr thrown;
  };
  // An exception must not go through C.
  static int take(const char* text, size_t size_bytes, void* user) {
    auto& pieces = *static_cast<Pieces*>(user);
    try {
      const std::string piece(text, size_bytes);
      pieces.text += piece;
      return !pieces.on_text || pieces.on_text(piece) ? 0 : 1;
    } catch (...) {
      pieces.thrown = std::current_exception();
      return 1;
    }
  }

  std::unique_ptr<attar_session, detail::Free> handle_;
};

// Many texts at once: submit them, then run(), or step() as often as it suits.
class Engine {
 public:
  using OnText = std::function<bool(const std::string& piece)>;  // false ends the text
  using OnEnd = std::function<void(const attar_ended& ended)>;

  explicit Engine(const Model& model, const attar_engine_options& options = engine_options())
      : handle_(detail::opened(attar_engine_open(model.handle(), &options))) {}
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  attar_engine* handle() const { return handle_.get(); }

  // -> its number. What the callbacks throw comes out of step(). Callbacks in `options` are not called.
  int64_t submit(const Prompt& prompt, attar_generate_options options = generate_options(), OnText on_text = {},
                 OnEnd on_end = {}) {
    std::vector<attar_message> messages;
    const attar_prompt view = prompt.view(messages);
    auto listener = std::make_unique<Listener>(Listener{this, 0, std::move(on_text), std::move(on_end)});
    options.user = listener.get();
    options.on_text = take;
    options.on_token = nullptr;
    options.on_logits = nullptr;
    options.on_progress = nullptr;
    listeners_.push_back(std::move(listener));  // what may fail comes first
    const int64_t id = attar_engine_submit(handle(), &view, &options, end);
    if (id < 0) {
      listeners_.pop_back();
      throw Failure();
    }
    return listeners_.back()->id = id;
  }
  void cancel(int64_t id) {
    detail::check(attar_engine_cancel(handle(), id));
    for (auto& listener : listeners_)
      if (listener->id == id) listener->over = true;  // it may be what calls
  }
  // -> whether there is more to do
  bool step() {
    const int64_t left = attar_engine_step(handle());
    listeners_.erase(std::remove_if(listeners_.begin(), listeners_.end(), [](const auto& one) { return one->over; }),
                     listeners_.end());
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    return detail::counted(left) > 0;
  }
  void run() {
    while (step()) continue;
  }
  attar_engine_load load() const {
    attar_engine_load load{};
    load.size_bytes = sizeof load;
    detail::check(attar_engine_get_load(handle(), &load));
    return load;
  }

 private:
  struct Listener {
    Engine* engine;
    int64_t id;
    OnText on_text;
    OnEnd on_end;
    bool over = false;
  };
  template <class Call>
  static int guarded(Listener& listener, Call&& call) {  // an exception must not go through C
    try {
      return call() ? 0 : 1;
    } catch (...) {
      listener.engine->thrown_ = std::current_exception();
      return 1;
    }
  }
  static int take(const char* text, size_t size_bytes, void* user) {
    auto& listener = *static_cast<Listener*>(user);
    return guarded(listener, [&] { return !listener.on_text || listener.on_text(std::string(text, size_bytes)); });
  }
  static void end(const attar_ended* ended, void* user) {
    auto& listener = *static_cast<Listener*>(user);
    listener.over = true;
    guarded(listener, [&] {
      if (listener.on_end) listener.on_end(*ended);
      return true;
    });
  }

  std::vector<std::unique_ptr<Listener>> listeners_;
  std::exception_ptr thrown_;
  std::unique_ptr<attar_engine, detail::Free> handle_;  // goes first
};

}  // namespace attar

#endif
