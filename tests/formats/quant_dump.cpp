// quant_dump decode|encode TYPE IN OUT: raw blocks to f32 values, or f32 values to raw blocks. For tests/oracle.
// quant_dump list: a line `NAME weights_per_block bytes_per_block` for every type that can be decoded.
#include <cstdio>
#include <string>
#include <vector>

#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/blocks/quant_format.h"

namespace {

void list_formats() {
  for (const attar::QuantFormat& format : attar::quant_formats())
    if (format.decode != nullptr)
      std::printf("%s %d %d\n", format.name, static_cast<int>(format.block_size), static_cast<int>(format.block_bytes));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2) return list_formats(), 0;
  if (argc != 5) return 2;
  const attar::QuantFormat* format = attar::find_format(std::string_view(argv[2]));
  if (format == nullptr) return 2;
  const std::string in = attar::read_file(argv[3]);
  std::string out;
  if (std::string(argv[1]) == "decode") {
    const auto n = static_cast<int64_t>(in.size()) / format->block_bytes;
    out.resize(static_cast<size_t>(n * format->block_size) * sizeof(float));
    format->decode(reinterpret_cast<const std::byte*>(in.data()), n, reinterpret_cast<float*>(out.data()));
  } else {
    const auto n = static_cast<int64_t>(in.size() / sizeof(float)) / format->block_size;
    out.resize(static_cast<size_t>(n * format->block_bytes));
    format->encode(reinterpret_cast<const float*>(in.data()), n, reinterpret_cast<std::byte*>(out.data()));
  }
  attar::write_file_atomically(argv[4], out);
  return 0;
}
