#include "distill/pass/products.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "distill/pass/row_math.h"

namespace attar {
namespace {

// sum (M, N) f32, whose rows may lie apart, += x (M, N) bf16
void add_rows(const at::Tensor& x, const at::Tensor& sum) {
  const int64_t n = x.size(1);
  const auto* from = reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>());
  auto* to = sum.mutable_data_ptr<float>();
  for (int64_t r = 0; r < x.size(0); ++r) add_bf16_row(from + r * n, n, to + r * sum.stride(0));
}

// (rows, columns) of a thread's own memory, which its next product takes again.
at::Tensor room_for(int64_t rows, int64_t columns, at::ScalarType kind) {
  thread_local at::Tensor room;
  if (!room.defined() || room.numel() < rows * columns || room.scalar_type() != kind)
    room = at::empty({rows * columns}, kind);
  return room.narrow(0, 0, rows * columns).view({rows, columns});
}

struct Part {
  const Product* of;
  int64_t begin, length;  // of the side that is cut
};

// Rows or columns of one part, each of which takes `work` multiplications: enough that a call pays, few enough that all
// threads have some.
int64_t part_of(int64_t work) {
  constexpr int64_t kWork = 120'000'000, kStep = 32, kLeast = 64, kMost = 1024;
  return std::clamp((kWork / work + kStep - 1) / kStep * kStep, kLeast, kMost);
}

void run_part(const Part& part) {
  const Product& p = *part.of;
  const int64_t side = p.by_rows ? 0 : 1;
  at::Tensor out = p.out.narrow(side, part.begin, part.length);
  const at::Tensor a = p.by_rows ? p.a.narrow(0, part.begin, part.length) : p.a,
                   b = p.by_rows ? p.b : p.b.narrow(1, part.begin, part.length);
  if (p.add)
    add_product(out, a, b);
  else
    at::mm_out(out, a, b);
}

}  // namespace

void add_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == at::kFloat) {
    out.addmm_(a, b);
    return;
  }
  at::Tensor product = room_for(a.size(0), b.size(1), a.scalar_type());
  add_rows(at::mm_out(product, a, b), out);
}

void multiply(Team& team, const std::vector<Product>& products) {
  std::vector<Part> parts;
  for (const Product& p : products) {
    const int64_t n = p.out.size(p.by_rows ? 0 : 1), other = p.out.size(p.by_rows ? 1 : 0),
                  each = part_of(p.a.size(1) * other);
    for (int64_t begin = 0; begin < n; begin += each) parts.push_back({&p, begin, std::min(each, n - begin)});
  }
  team.run(static_cast<int64_t>(parts.size()), [&](int64_t i) { run_part(parts[static_cast<size_t>(i)]); });
}

}  // namespace attar
