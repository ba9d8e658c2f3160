// Numbers of texts: log-probabilities and embeddings.
#include "runtime/c_api/prompts.h"
#include "runtime/judge/score.h"
#include "runtime/text/embed.h"

namespace attar::c_api {
namespace {

namespace rt = attar::runtime;

constexpr attar_embed_options kEmbedDefaults = {.size_bytes = sizeof(attar_embed_options),
                                                .pooling = ATTAR_POOL_MEAN,
                                                .normalize = 1,
                                                .user = nullptr,
                                                .on_progress = nullptr};
constexpr size_t kFirstEmbedBytes = offsetof(attar_embed_options, on_progress) + sizeof(void*);

rt::EmbedOptions runtime_options(const attar_embed_options& options) {
  if (options.pooling != ATTAR_POOL_MEAN && options.pooling != ATTAR_POOL_LAST)
    throw usage_error("pooling", "is unknown", "ATTAR_POOL_MEAN or ATTAR_POOL_LAST", std::to_string(options.pooling));
  return {.pooling = options.pooling == ATTAR_POOL_MEAN ? rt::Pooling::Mean : rt::Pooling::Last,
          .length = options.normalize != 0 ? rt::Length::One : rt::Length::Own};
}

void embed(Engine& engine, const attar_prompt* prompts, size_t n, const attar_embed_options& options, float* vectors,
           size_t capacity) {
  const rt::EmbedOptions how = runtime_options(options);
  const auto width = static_cast<size_t>(engine.model.config().width);
  if (capacity / width < n)
    throw usage_error("vectors", "are too small", "room for " + std::to_string(n) + " times " + std::to_string(width),
                      std::to_string(capacity));
  const std::vector<std::vector<int32_t>> texts = tokens_of(engine, prompts, n);
  const auto progress = [&](const Event& event) {
    if (options.on_progress == nullptr) return Flow::GoOn;
    return options.on_progress(event.done, event.total, options.user) == 0 ? Flow::GoOn : Flow::Stop;
  };
  const Turn turn(engine);
  const std::vector<float> out = rt::embed(engine.model, texts, how, engine.work, progress);
  std::copy(out.begin(), out.end(), vectors);
}

}  // namespace
}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

int64_t attar_score(attar_model* model, const attar_prompt* prompt, int32_t* tokens, double* logprobs,
                    int64_t capacity) {
  int64_t n = -1;
  code_of([&] {
    const auto engine = models().at(model);
    const std::vector<int32_t> ids = tokens_of(*engine, prompt);
    const Turn turn(*engine);
    const std::vector<double> scores = attar::runtime::score_tokens(engine->model, ids, engine->work);
    copy_out(scores, logprobs, capacity);
    n = copy_out(ids, tokens, capacity);
  });
  return n;
}

int attar_init_embed_options(attar_embed_options* options, size_t size_bytes) {
  return code_of([&] { write_defaults(options, size_bytes, kEmbedDefaults, kFirstEmbedBytes); });
}

int attar_embed(attar_model* model, const attar_prompt* prompts, size_t n, const attar_embed_options* options,
                float* vectors, size_t capacity) {
  return code_of([&] {
    const auto engine = models().at(model);
    if (n == 0) return;
    given(vectors, "vectors");
    embed(*engine, prompts, n, complete("options", options, kEmbedDefaults, kFirstEmbedBytes), vectors, capacity);
  });
}

}  // extern "C"
