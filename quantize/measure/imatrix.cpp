#include "quantize/measure/imatrix.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <span>

#include "runtime/base/error.h"
#include "runtime/formats/blocks/quant_format.h"
#include "runtime/formats/container/gguf.h"

namespace attar {
namespace {

constexpr std::string_view kSums = ".in_sum2";

// The first n numbers of an F32 tensor. -> (n)
std::vector<float> numbers(const GgufTensor& tensor, size_t n, std::vector<std::byte>& buffer) {
  std::vector<float> out(n);
  format_of(TensorType::F32).decode(tensor.bytes.read(buffer).data(), static_cast<int64_t>(n), out.data());
  return out;
}

}  // namespace

Importance read_imatrix(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  Importance importance;
  std::vector<std::byte> buffer;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.name.size() <= kSums.size() || !tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const GgufTensor* counts = file.find_tensor(name + ".counts");
    if (tensor.type != TensorType::F32 || counts == nullptr || counts->type != TensorType::F32)
      throw input_error(path, "has an entry without counts", "", printable(name));
    const float count = numbers(*counts, 1, buffer)[0];
    std::vector<float> means = numbers(tensor, tensor.bytes.size() / sizeof(float), buffer);
    for (float& mean : means) {
      mean /= std::max(1.0f, count);
      if (!std::isfinite(mean) || mean < 0.0f || !std::isfinite(count))
        throw input_error(path, "an entry is no mean of squares", "finite numbers of at least 0", printable(name),
                          "make the matrix again");
    }
    importance[name] = std::move(means);
  }
  if (importance.empty()) throw input_error(path, "holds no importance matrix", "the GGUF that llama-imatrix writes");
  return importance;
}

void write_imatrix(const std::string& path, const Importance& importance, int64_t tokens,
                   const std::vector<std::string>& sources) {
  constexpr uint32_t kChunkTokens = 512;
  std::vector<GgufTensor> tensors;
  std::deque<std::vector<float>> values;  // that the tensors point to
  const auto add = [&](const std::string& name, std::vector<float> numbers) {
    values.push_back(std::move(numbers));
    const std::span<const float> own(values.back());
    tensors.push_back({name, TensorType::F32, {1, static_cast<int64_t>(own.size())}, LazyBytes(std::as_bytes(own))});
  };
  for (const auto& [name, means] : importance) {
    std::vector<float> sums(means);
    for (float& sum : sums) sum *= static_cast<float>(tokens);
    add(name + std::string(kSums), std::move(sums));
    add(name + ".counts", {static_cast<float>(tokens)});
  }
  write_gguf(
      path,
      {{"general.type", GgufValue::string("imatrix")},
       {"imatrix.datasets", GgufValue::array_of(sources)},
       {"imatrix.chunk_count", GgufValue::u32(static_cast<uint32_t>((tokens + kChunkTokens - 1) / kChunkTokens))},
       {"imatrix.chunk_size", GgufValue::u32(kChunkTokens)}},
      tensors);
}

}  // namespace attar
