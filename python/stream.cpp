#include "python/stream.h"

#include <utility>

#include "runtime/base/input_file.h"

namespace attar::python {

py::dict dict_of(const runtime::Generated& text, size_t prompt_tokens, bool ended) {
  py::dict out;
  out["text"] = text.text, out["tokens"] = text.tokens;
  out["stop_reason"] = ended ? py::object(py::str(name_of(text.reason))) : py::none();
  out["prompt_tokens"] = prompt_tokens;
  out["passes"] = text.speculation.passes, out["guessed_tokens"] = text.speculation.guessed,
  out["accepted_tokens"] = text.speculation.accepted;
  return out;
}

PyStream::PyStream(std::shared_ptr<Loaded> loaded, std::vector<int32_t> prompt, const runtime::GenerateOptions& options,
                   std::string file)
    : loaded_(std::move(loaded)),
      prompt_(std::move(prompt)),
      file_(std::move(file)),
      said_(loaded_->model),
      work_(loaded_->model, loaded_->pool) {
  if (!file_.empty() && path_exists(file_)) {
    const std::lock_guard turn(loaded_->turn);
    added_ = runtime::restore_session(file_, loaded_->model, said_, loaded_->pool);
  }
  said_.begin(prompt_);
  continuation_.emplace(loaded_->model, said_.cache(), prompt_, options, work_);
}

std::string PyStream::next() {
  while (const std::optional<std::string> piece = step())
    if (!piece->empty()) return *piece;
  throw py::stop_iteration();
}

void PyStream::finish() {
  while (step()) {
  }
}

py::dict PyStream::result() {
  runtime::Generated so_far;
  bool ended = false;
  {
    const py::gil_scoped_release release{};  // who writes may need it before they are done
    const std::lock_guard own(own_);
    so_far = continuation_->result(), ended = continuation_->ended();
  }
  return dict_of(so_far, prompt_.size(), ended);
}

std::optional<std::string> PyStream::step() {
  Watch signals;
  std::optional<std::string> piece = signals.call([&](const Progress& progress) {
    const std::lock_guard turn(loaded_->turn);
    const std::lock_guard own(own_);
    std::optional<std::string> next = continuation_->next(progress);
    if (continuation_->ended()) save();
    return next;
  });
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  return piece;
}

void PyStream::save() {
  if (file_.empty()) return;
  said_.hold(prompt_, continuation_->result().tokens);
  runtime::save_session(std::exchange(file_, {}), loaded_->model, said_, added_, loaded_->pool);
}

}  // namespace attar::python
