// What handles stand for: a model with all that its sessions share, and a session.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "runtime/c_api/errors.h"
#include "runtime/c_api/handles.h"
#include "runtime/model/model.h"
#include "runtime/text/conversation.h"
#include "runtime/text/generate.h"

namespace attar::c_api {

// One at a time, in the order in which they came: a mutex would let whoever leaves come straight back.
class Queue {
 public:
  void enter() {
    std::unique_lock lock(mutex_);
    const uint64_t mine = last_++;
    moved_.wait(lock, [&] { return serving_ == mine; });
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    ++serving_;
    moved_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  uint64_t last_ = 0, serving_ = 0;  // numbers of those who wait, and of who is inside
};

struct Engine {
  Engine(const ModelFile& file, int threads, const runtime::LoadOptions& options)
      : pool(threads), model(runtime::Model::load(file, options, pool)), work(model, pool) {
    for (const std::string& note : model.notes()) notes.push_back(note);
  }

  void note(const std::string& text);  // once each

  ThreadPool pool;
  runtime::Model model;
  runtime::Workspace work;  // of whose turn it is
  std::optional<runtime::Draft> draft{};
  runtime::Grammars grammars{model.tokenizer()};

  Queue turns{};
  std::atomic<std::thread::id> holder{};  // of the turn

  mutable std::mutex noting{};
  std::deque<std::string> notes{};  // whose texts callers hold: it only grows
};

// The engine for oneself, for as long as this lives; waits for others. Busy: this thread has it already.
class Turn {
 public:
  explicit Turn(Engine& engine) : engine_(engine) {
    if (engine.holder == std::this_thread::get_id()) throw Busy("model: is in the call that calls back");
    engine.turns.enter();
    engine.holder = std::this_thread::get_id();
  }
  ~Turn() {
    engine_.holder = std::thread::id();
    engine_.turns.leave();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Engine& engine_;
};

struct Session {
  explicit Session(std::shared_ptr<Engine> of) : engine(std::move(of)), said(engine->model) {}
  Session(std::shared_ptr<Engine> of, const runtime::Conversation& same) : engine(std::move(of)), said(same) {}

  std::shared_ptr<Engine> engine;
  runtime::Conversation said;
  std::mutex in_use{};
  std::atomic<bool> cancelled{false};
};

// The session for oneself. Busy: it is in another call.
class SessionCall {
 public:
  explicit SessionCall(Session& session) : session_(session) {
    if (!session.in_use.try_lock()) throw Busy("session: is in another call");
  }
  ~SessionCall() { session_.in_use.unlock(); }
  SessionCall(const SessionCall&) = delete;
  SessionCall& operator=(const SessionCall&) = delete;

 private:
  Session& session_;
};

Handles<attar_model, Engine>& models();
Handles<attar_session, Session>& sessions();

}  // namespace attar::c_api
