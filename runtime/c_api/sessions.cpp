// Sessions: opened, copied, cut, saved, restored, cancelled, freed.
#include "runtime/c_api/engine.h"
#include "runtime/text/session_file.h"

namespace attar::c_api {

Handles<attar_session, Session>& sessions() {
  static auto& handles = *new Handles<attar_session, Session>("session");
  return handles;
}

}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

attar_session* attar_session_open(attar_model* model) {
  attar_session* handle = nullptr;
  code_of([&] { handle = sessions().add(std::make_shared<Session>(models().at(model))); });
  return handle;
}

int attar_session_free(attar_session* session) {
  return code_of([&] {
    if (session != nullptr) sessions().remove(session);
  });
}

attar_session* attar_session_fork(attar_session* session) {
  attar_session* handle = nullptr;
  code_of([&] {
    const auto original = sessions().at(session);
    const SessionCall call(*original);
    handle = sessions().add(std::make_shared<Session>(original->engine, original->said));
  });
  return handle;
}

int64_t attar_session_tokens(attar_session* session, int32_t* tokens, int64_t capacity) {
  int64_t n = -1;
  code_of([&] {
    const auto held = sessions().at(session);
    const SessionCall call(*held);
    n = copy_out(held->said.tokens(), tokens, capacity);
  });
  return n;
}

int attar_session_truncate(attar_session* session, int64_t n_tokens) {
  return code_of([&] {
    const auto held = sessions().at(session);
    const SessionCall call(*held);
    const auto most = static_cast<int64_t>(held->said.tokens().size());
    if (n_tokens < 0 || n_tokens > most)
      throw attar::usage_error("n_tokens", "is out of range", "0 to " + std::to_string(most), std::to_string(n_tokens));
    held->said.truncate(static_cast<size_t>(n_tokens));
  });
}

int attar_session_save(attar_session* session, const char* path) {
  return code_of([&] {
    const auto held = sessions().at(session);
    given(path, "path");
    const SessionCall call(*held);
    const Turn turn(*held->engine);
    attar::runtime::save_session(path, held->engine->model, held->said, "", held->engine->pool);
  });
}

int attar_session_restore(attar_session* session, const char* path) {
  return code_of([&] {
    const auto held = sessions().at(session);
    given(path, "path");
    const SessionCall call(*held);
    const Turn turn(*held->engine);
    attar::runtime::restore_session(path, held->engine->model, held->said, held->engine->pool);
  });
}

int attar_cancel(attar_session* session) {
  return code_of([&] { sessions().at(session)->cancelled = true; });
}

}  // extern "C"
