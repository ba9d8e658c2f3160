// encode_dump TYPE COLUMNS IN OUT [WEIGHTS]: f32 rows to blocks by the weighted search. For tests/oracle.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "quantize/grid/encode.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"

namespace {

std::vector<float> floats(const char* path) {
  const std::string bytes = attar::read_file(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  const attar::QuantFormat* format = attar::find_format(std::string_view(argv[1]));
  if (format == nullptr || !format->written) return 2;
  const size_t columns = std::stoul(argv[2]);
  const std::vector<float> values = floats(argv[3]), weights = argc == 6 ? floats(argv[5]) : std::vector<float>();
  const auto row_bytes = static_cast<size_t>(format->row_bytes(static_cast<int64_t>(columns)));
  std::vector<std::byte> blocks(values.size() / columns * row_bytes);
  attar::encode_rows(*format, values, weights, blocks);
  attar::write_file_atomically(argv[4], {reinterpret_cast<const char*>(blocks.data()), blocks.size()});
  return 0;
}
