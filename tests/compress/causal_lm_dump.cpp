// causal_lm_dump MODEL TOKENS.json OUT: logits (n, V) of one sequence as raw f32, by LibTorch. For tests/oracle.
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "compress/causal_lm.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"

int main(int argc, char** argv) {
  using namespace attar;
  if (argc != 4) return 2;
  const c10::NoGradGuard no_grad;
  const auto tokens = nlohmann::json::parse(read_file(argv[2])).get<std::vector<int64_t>>();
  const CausalLM model = CausalLM::load(ModelFile::open(argv[1]));
  const auto n = static_cast<int64_t>(tokens.size());
  const at::Tensor out = logits(model, {at::tensor(tokens, at::kLong), at::arange(n, at::kLong), {n}}).contiguous();
  write_file_atomically(argv[3], {static_cast<const char*>(out.const_data_ptr()), out.nbytes()});
  return 0;
}
