#include "recipes/data/student_writes.h"

#include <memory>

#include "runtime/formats/blocks/quant_format.h"
#include "runtime/model/model.h"
#include "runtime/text/generate_batch.h"

namespace attar {
namespace {

// Sequences at once: more of them share each reading of the weights, fewer fit the caches.
constexpr int64_t kAtOnce = 32;

using Buffers = std::vector<std::vector<std::byte>>;

// A matrix in Q8_0 where its rows are whole blocks; else the student's own memory.
StoredTensor stored(const TensorSpec& spec, const CausalLM& student, std::vector<std::byte>& buffer, ThreadPool& pool) {
  const at::Tensor& values = student.parameter(spec.name);
  const std::span<const float> all(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()));
  const QuantFormat& format = format_of(TensorType::Q8_0);
  const std::vector<int64_t> shape = spec.shape;
  if (shape.size() != 2 || shape[1] % format.block_size != 0) return {TensorType::F32, shape, std::as_bytes(all)};
  const auto rows = static_cast<size_t>(shape[0]), columns = static_cast<size_t>(shape[1]);
  const auto row_bytes = static_cast<size_t>(format.row_bytes(shape[1]));
  buffer.resize(rows * row_bytes);
  const auto parts = static_cast<size_t>(pool.size());
  pool.run([&](int thread) {
    const size_t first = rows * static_cast<size_t>(thread) / parts,
                 last = rows * (static_cast<size_t>(thread) + 1) / parts;
    format.encode(all.data() + first * columns, static_cast<int64_t>((last - first) * columns) / format.block_size,
                  buffer.data() + first * row_bytes);
  });
  return {TensorType::Q8_0, shape, buffer};
}

ModelFile in_memory(const CausalLM& student, const TokenizerData& tokenizer, ThreadPool& pool) {
  const std::vector<TensorSpec> specs = tensor_specs(student.config);
  const auto buffers = std::make_shared<Buffers>(specs.size());
  ModelFile::Parts parts;
  parts.config = student.config, parts.tokenizer = tokenizer;
  parts.owner = buffers, parts.source = "the student";
  for (size_t i = 0; i < specs.size(); ++i)
    parts.tensors[specs[i].name] = stored(specs[i], student, (*buffers)[i], pool);
  return ModelFile(std::move(parts));
}

}  // namespace

RolloutWriter student_writer(const TokenizerData& tokenizer, int threads) {
  return [&tokenizer, threads](const CausalLM& student, const RolloutRequest& request, const Progress& progress) {
    ThreadPool pool(threads);
    const runtime::Model model = runtime::Model::load(in_memory(student, tokenizer, pool), {}, pool);
    runtime::Workspace work(model, pool);
    runtime::BatchOptions options;
    options.text.max_tokens = request.max_tokens, options.text.seed = request.seed, options.batch_size = kAtOnce;
    options.text.sampling = {.temperature = request.temperature, .top_k = 0, .top_p = 1.0};
    size_t begun = 0;
    const auto source = [&]() -> std::optional<runtime::BatchSequence> {
      if (begun == request.prompts.size()) return std::nullopt;
      const size_t i = begun++;
      return runtime::BatchSequence{request.first_id + i, request.prompts[i]};
    };
    std::vector<Rollout> written;
    const auto keep = [&](runtime::BatchResult result) {
      written.push_back({std::move(result.tokens), result.reason == runtime::StopReason::EndOfText});
      return Flow::GoOn;
    };
    runtime::generate_batch(model, source, options, work, keep, progress);
    return written;
  };
}

}  // namespace attar
