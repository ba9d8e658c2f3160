// Which kernels multiply here. Another processor, another matrix library or a host that has chosen differently gives
// products whose last bits differ, and with them other codes.
#pragma once

#include <string>

namespace attar {

std::string products_hash();  // of one fixed product

}  // namespace attar
