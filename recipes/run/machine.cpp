#include "recipes/run/machine.h"

#include <torch/version.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "runtime/base/host/cpu.h"
#include "runtime/base/host/cpu_limits.h"

namespace attar {
namespace {

std::string compiler() {
#ifdef __clang__
  return __VERSION__;
#else
  return std::string("g++ ") + __VERSION__;
#endif
}

}  // namespace

std::string shell_quoted(const std::string& word) {
  const std::string plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@%+";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string line;
  for (std::string word; std::getline(file, word, '\0');) line += (line.empty() ? "" : " ") + shell_quoted(word);
  return line;
}

std::string machine_json(int threads, int ranks) {
  const CpuFeatures& cpu = cpu_features();
  const char* matrix_kernels = std::getenv("MKL_CBWR");  // see compress/shards.h
  nlohmann::ordered_json json = {
      {"attar", ATTAR_VERSION},      {"libtorch", TORCH_VERSION},
      {"compiler", compiler()},      {"matrix_kernels", matrix_kernels == nullptr ? "the host's" : matrix_kernels},
      {"cpu", cpu_model()},          {"isa", isa_name(cpu.best_isa())},
      {"cores", cpu_limits().cores}, {"threads", threads}};
  if (ranks > 1) json["ranks"] = ranks;
  return json.dump();
}

}  // namespace attar
