// Models: opened, described, freed.
#include <span>
#include <string>

#include "runtime/base/host/cpu_limits.h"
#include "runtime/c_api/engine.h"
#include "runtime/formats/model_file.h"

namespace attar::c_api {

namespace rt = attar::runtime;

void Engine::note(const std::string& text) {
  const std::lock_guard lock(noting);
  for (const std::string& known : notes)
    if (known == text) return;
  notes.push_back(text);
}

// Never destroyed: a thread may still be inside a call when the program ends.
Handles<attar_model, Engine>& models() {
  static auto& handles = *new Handles<attar_model, Engine>("model");
  return handles;
}

namespace {

constexpr attar_open_options kOpenDefaults = {
    .size_bytes = sizeof(attar_open_options), .threads = 0, .fp32 = 0, .kv = nullptr, .draft = nullptr};
constexpr size_t kFirstOpenBytes = offsetof(attar_open_options, draft) + sizeof(const char*),
                 kFirstInfoBytes = offsetof(attar_model_info, eos) + sizeof(int32_t);

template <class Open>  // -> ModelFile
attar_model* open(const attar_open_options* given_options, Open&& file) {
  attar_model* handle = nullptr;
  code_of([&] {
    const attar_open_options options = complete("options", given_options, kOpenDefaults, kFirstOpenBytes);
    if (options.threads < 0 || options.threads > kMostThreads)
      throw usage_error("threads", "is out of range", "0 to " + std::to_string(kMostThreads),
                        std::to_string(options.threads));
    const Numerics numerics = options.fp32 != 0 ? Numerics::Fp32 : Numerics::Deployed;
    const rt::LoadOptions how{.numerics = numerics,
                              .kv = kv_format_of(options.kv != nullptr ? options.kv : "", "kv", numerics)};
    auto engine = std::make_shared<Engine>(file(), options.threads > 0 ? options.threads : default_threads(), how);
    if (options.draft != nullptr)
      engine->draft.emplace(rt::Model::load(ModelFile::open(options.draft), {.numerics = numerics}, engine->pool),
                            engine->model, engine->pool);
    handle = models().add(std::move(engine));
  });
  return handle;
}

attar_model_info info_of(const Engine& engine) {
  const ModelConfig& config = engine.model.config();
  const TokenizerData& tokenizer = engine.model.tokenizer().data();
  return {.size_bytes = 0,
          .vocabulary_tokens = config.vocab_size,
          .context_tokens = config.context_length,
          .width = config.width,
          .layers = config.n_layers(),
          .parameters = config.parameter_count(),
          .file_bytes = engine.model.file_bytes(),
          .packed_bytes = engine.model.packed_bytes(),
          .threads = engine.pool.size(),
          .has_chat_template = tokenizer.chat_template.empty() ? 0 : 1,
          .bos = tokenizer.bos,
          .eos = tokenizer.eos};
}

}  // namespace
}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

int attar_init_open_options(attar_open_options* options, size_t size_bytes) {
  return code_of([&] { write_defaults(options, size_bytes, kOpenDefaults, kFirstOpenBytes); });
}

attar_model* attar_open(const char* model, const attar_open_options* options) {
  return open(options, [&] { return attar::ModelFile::open(given(model, "model")); });
}

attar_model* attar_open_memory(const void* gguf, size_t size_bytes, const attar_open_options* options) {
  return open(options, [&] {
    const std::span bytes(static_cast<const std::byte*>(given(gguf, "gguf")), size_bytes);
    return attar::ModelFile::open(attar::InputFile::of_memory(bytes, "the model in memory"));
  });
}

attar_model* attar_open_fd(int descriptor, const attar_open_options* options) {
  return open(options, [&] {
    return attar::ModelFile::open(
        attar::InputFile::of_descriptor(descriptor, "descriptor " + std::to_string(descriptor)));
  });
}

int attar_free(attar_model* model) {
  return code_of([&] {
    if (model != nullptr) models().remove(model);
  });
}

int attar_info(const attar_model* model, attar_model_info* info) {
  return code_of([&] {
    const auto engine = models().at(model);
    check_size("info", given(info, "info")->size_bytes, kFirstInfoBytes, sizeof *info);
    attar_model_info all = info_of(*engine);
    all.size_bytes = info->size_bytes;
    std::memcpy(info, &all, all.size_bytes);
  });
}

size_t attar_note_count(const attar_model* model) {
  size_t count = 0;
  code_of([&] {
    const auto engine = models().at(model);
    const std::lock_guard lock(engine->noting);
    count = engine->notes.size();
  });
  return count;
}

const char* attar_note(const attar_model* model, size_t index) {
  const char* text = nullptr;
  code_of([&] {
    const auto engine = models().at(model);
    const std::lock_guard lock(engine->noting);
    if (index < engine->notes.size()) text = engine->notes[index].c_str();
  });
  return text;
}

}  // extern "C"
