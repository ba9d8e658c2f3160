// What the module attar._runtime keeps of a model, and a text while it is being written.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "python/options.h"
#include "runtime/text/generate.h"
#include "runtime/text/session_file.h"

namespace attar::python {

struct Loaded {
  Loaded(int threads, const std::string& path, const runtime::LoadOptions& options)
      : pool(threads), model(runtime::Model::load(ModelFile::open(path), options, pool)) {}
  ThreadPool pool;
  runtime::Model model;
  std::optional<runtime::Draft> draft;
  runtime::Grammars grammars{model.tokenizer()};
  std::recursive_mutex turn;  // of calls from several threads; a signal handler of Python may call in between
};

// What generate() gives back; no stop reason where a text is not at its end.
py::dict dict_of(const runtime::Generated& text, size_t prompt_tokens, bool ended);

// Between two pieces its model may serve other calls: each has a workspace of its own.
class PyStream {
 public:
  // `file`: of what was read and written, to go on from and to write at the end; "": none.
  PyStream(std::shared_ptr<Loaded> loaded, std::vector<int32_t> prompt, const runtime::GenerateOptions& options,
           std::string file);

  // Some characters; raises StopIteration behind the last.
  std::string next();
  void finish();
  py::dict result();

 private:
  std::optional<std::string> step();
  void save();

  std::shared_ptr<Loaded> loaded_;
  std::recursive_mutex own_;  // of what there is so far: another thread may ask for it while this one writes
  const std::vector<int32_t> prompt_;
  std::string file_, added_;  // added: by a chat of attar-run, whose session the file is
  runtime::Conversation said_;
  runtime::Workspace work_;
  std::optional<runtime::Continuation> continuation_{};
};

}  // namespace attar::python
