#include "runtime/formats/row_order.h"

#include <cstring>

namespace attar {

std::vector<int64_t> hf_row_of_gguf_row(int64_t n_heads, int64_t head_dim) {
  std::vector<int64_t> source(static_cast<size_t>(n_heads * head_dim));
  for (int64_t head = 0; head < n_heads; ++head)
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t pair = 0; pair < head_dim / 2; ++pair)
        source[static_cast<size_t>(head * head_dim + 2 * pair + half)] = head * head_dim + half * (head_dim / 2) + pair;
  return source;
}

std::vector<std::byte> reordered_rows(std::span<const std::byte> rows, int64_t n_heads, int64_t head_dim, RowOrder to) {
  const std::vector<int64_t> source = hf_row_of_gguf_row(n_heads, head_dim);
  const size_t row_bytes = rows.size() / source.size();
  std::vector<std::byte> out(rows.size());
  for (size_t neighbour = 0; neighbour < source.size(); ++neighbour) {
    const auto half = static_cast<size_t>(source[neighbour]);
    const size_t from = to == RowOrder::Neighbours ? half : neighbour,
                 target = to == RowOrder::Neighbours ? neighbour : half;
    std::memcpy(out.data() + target * row_bytes, rows.data() + from * row_bytes, row_bytes);
  }
  return out;
}

int64_t gguf_row_of_hf_row(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim, half = in_head / (head_dim / 2), pair = in_head % (head_dim / 2);
  return row - in_head + 2 * pair + half;
}

}  // namespace attar
