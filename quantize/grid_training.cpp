#include "quantize/grid_training.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <memory>

#include "compress/shards.h"
#include "quantize/grid/packed_grid.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

constexpr int64_t kValuesAPart = int64_t{1} << 16;

at::Tensor tensor_of(const std::vector<float>& values) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<float>());
  return out;
}

// Of blocks by themselves, so that no bit depends on the threads.
void for_each_part(int64_t blocks, int64_t block_size, int threads,
                   const std::function<void(PackedGrid::Blocks)>& work) {
  const int64_t a_part = std::max<int64_t>(1, kValuesAPart / block_size);
  run_shards((blocks + a_part - 1) / a_part, threads, [&](int64_t part) {
    work({part * a_part, std::min(a_part, blocks - part * a_part)});
  });
}

template <class T>
std::span<T> part_of(T* values, PackedGrid::Blocks blocks) {
  if (values == nullptr) return {};
  return {values + blocks.first, static_cast<size_t>(blocks.count)};
}

const float* values_of(const NamedTensors& parameters, const char* name) {
  const auto found = parameters.find(name);
  return found == parameters.end() ? nullptr : found->second.const_data_ptr<float>();
}
BlockSteps steps_of(const NamedTensors& parameters, PackedGrid::Blocks blocks) {
  return {part_of(values_of(parameters, "d"), blocks), part_of(values_of(parameters, "dmin"), blocks)};
}

// A tensor in blocks: the closures share its grid, and its latents where those are not trained.
Reparameterization on_grid(const at::Tensor& original, const QuantizedTensor& tensor,
                           const GridTrainingOptions& options, int threads) {
  const auto grid = std::make_shared<const PackedGrid>(format_of(tensor.type), tensor.bytes);
  const int64_t size = grid->format().block_size, blocks = grid->n_blocks();
  const at::Tensor given = original.detach().contiguous(), latents = at::empty_like(given);
  for_each_part(blocks, size, threads, [&](PackedGrid::Blocks part) {
    grid->start_latents(part, given.const_data_ptr<float>() + part.first * size,
                        latents.mutable_data_ptr<float>() + part.first * size);
  });
  Reparameterization out;
  const double unit = options.unit == RateUnit::Cell ? grid->mean_cell() : 1.0;
  if (options.parts == GridParts::All) out.parameters["latent"] = latents;
  if (options.unit == RateUnit::Cell) out.learning_rate_ratios["latent"] = unit;
  for (const auto& [name, start] : {std::pair("d", grid->start_d()), std::pair("dmin", grid->start_dmin())})
    if (!start.empty())
      out.parameters[name] = tensor_of(start), out.learning_rate_ratios[name] = unit * options.scale_rate;
  const at::Tensor kept = options.parts == GridParts::All ? at::Tensor() : latents;
  const auto latents_of = [kept](const NamedTensors& parameters) {
    return kept.defined() ? kept.const_data_ptr<float>() : values_of(parameters, "latent");
  };
  out.effective = [=](const NamedTensors& parameters, at::Tensor& weights, int n_threads) {
    const float* x = latents_of(parameters);
    auto* values = weights.mutable_data_ptr<float>();
    for_each_part(blocks, size, n_threads, [&](PackedGrid::Blocks part) {
      grid->values(part, steps_of(parameters, part), x + part.first * size, values + part.first * size);
    });
  };
  out.pull_back = [=](const NamedTensors& parameters, const at::Tensor& gradient, int n_threads) {
    const float* x = latents_of(parameters);
    const at::Tensor through = gradient.contiguous();
    NamedTensors pulled;
    for (const auto& [name, values] : parameters) pulled[name] = name == "latent" ? through : at::empty_like(values);
    const auto place = [&](const char* name) {
      const auto found = pulled.find(name);
      return found == pulled.end() ? nullptr : found->second.mutable_data_ptr<float>();
    };
    float *by_d = place("d"), *by_dmin = place("dmin"), *by_latents = through.mutable_data_ptr<float>();
    for_each_part(blocks, size, n_threads, [&](PackedGrid::Blocks part) {
      grid->pull_back(part, x + part.first * size, by_latents + part.first * size, part_of(by_d, part),
                      part_of(by_dmin, part));
    });
    return pulled;
  };
  return out;
}

// A tensor of F16 or BF16: the nearest value, straight through.
Reparameterization on_plain_type(const at::Tensor& original, const QuantFormat& format,
                                 const GridTrainingOptions& options) {
  Reparameterization out;
  if (options.parts != GridParts::All) return out;  // frozen
  out.parameters["latent"] = original.detach().contiguous().clone();
  out.effective = [&format](const NamedTensors& parameters, at::Tensor& weights, int threads) {
    const float* x = values_of(parameters, "latent");
    auto* values = weights.mutable_data_ptr<float>();
    for_each_part(weights.numel(), 1, threads, [&](PackedGrid::Blocks part) {
      std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(part.count)));
      format.encode(x + part.first, part.count, bytes.data());
      format.decode(bytes.data(), part.count, values + part.first);
    });
  };
  out.pull_back = [](const NamedTensors&, const at::Tensor& gradient, int) {
    return NamedTensors{{"latent", gradient}};
  };
  return out;
}

}  // namespace

Reparameterizations grid_parameters(const CausalLM& original, const QuantizedModel& quantized,
                                    const GridTrainingOptions& options, int threads) {
  Reparameterizations out;
  for (const auto& [name, tensor] : quantized.tensors) {
    const QuantFormat& format = format_of(tensor.type);
    if (tensor.type == TensorType::F32) continue;
    if (format.lattice != nullptr)
      out[name] = Reparameterization{};  // frozen
    else
      out[name] = has_grid(format) ? on_grid(original.parameter(name), tensor, options, threads)
                                   : on_plain_type(original.parameter(name), format, options);
  }
  return out;
}

void take_trained(const CausalLM& student, const Reparameterizations& trained, QuantizedModel& quantized, int threads) {
  int codebooks = 0;
  for (auto& [name, tensor] : quantized.tensors) {
    const QuantFormat& format = format_of(tensor.type);
    const auto own = trained.find(name);
    codebooks += format.lattice != nullptr ? 1 : 0;
    if (own != trained.end() && own->second.frozen()) continue;
    if (!has_grid(format)) {  // what the student holds is a value of the type
      const at::Tensor values = student.parameter(name).detach().contiguous();
      format.encode(values.const_data_ptr<float>(), values.numel(), tensor.bytes.data());
      continue;
    }
    const PackedGrid grid(format, tensor.bytes);
    const NamedTensors& parameters = own->second.parameters;
    const float* latents = values_of(parameters, "latent");
    at::Tensor kept;
    if (latents == nullptr) {  // the codes are those that it has
      kept = at::empty(tensor.shape, at::kFloat);
      format.decode(tensor.bytes.data(), grid.n_blocks(), kept.mutable_data_ptr<float>());
      latents = kept.const_data_ptr<float>();
    }
    for_each_part(grid.n_blocks(), format.block_size, threads, [&](PackedGrid::Blocks part) {
      grid.pack(part, steps_of(parameters, part), latents + part.first * format.block_size,
                std::span(tensor.bytes)
                    .subspan(static_cast<size_t>(part.first * format.block_bytes),
                             static_cast<size_t>(part.count * format.block_bytes)));
    });
  }
  quantized.notes.emplace_back("the errors of matrices, and a predicted KL, are of the codes before they learned");
  if (codebooks > 0)
    quantized.notes.push_back("nothing was learned in " + std::to_string(codebooks) +
                              " tensors of codebooks (IQ1, IQ2, IQ3): their codes stayed");
}

std::string content_hash(const QuantizedModel& quantized) {
  Sha256 hash;
  for (const auto& [name, tensor] : quantized.tensors) {
    hash.add(name + ";" + format_of(tensor.type).name + ";");
    hash.add(std::span<const std::byte>(tensor.bytes));
  }
  return hash.hex();
}

}  // namespace attar
