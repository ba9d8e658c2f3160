// Rows of query and key matrices in the two orders that files have: RoPE turns pairs of rows of a head, which lie half
// a head apart (Hugging Face) or side by side (GGUF `llama`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace attar {

// Row r of a GGUF `llama` q or k matrix is row source[r] of the Hugging Face matrix; n_heads is K for k.
std::vector<int64_t> hf_row_of_gguf_row(int64_t n_heads, int64_t head_dim);  // -> (n_heads * head_dim)

// Whole rows of a q or k matrix or bias, whatever their type, moved between the two orders.
enum class RowOrder { Halves, Neighbours };  // Hugging Face's, GGUF `llama`'s
std::vector<std::byte> reordered_rows(std::span<const std::byte> rows, int64_t n_heads, int64_t head_dim, RowOrder to);

// The row of a GGUF `llama` q or k matrix that holds row `row` of Hugging Face's: hf_row_of_gguf_row, turned around.
int64_t gguf_row_of_hf_row(int64_t row, int64_t head_dim);

}  // namespace attar
