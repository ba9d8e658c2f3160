// What filters, tests and methods share: their signatures.
#include <algorithm>

#include "runtime/formats/jinja/interpreter/eval.h"

namespace attar::jinja {

std::string_view Builtin::name() const {
  const std::string_view all(signature);
  return all.substr(0, all.find(' '));
}

Call bound(const Builtin& builtin, const Call& call) {
  std::string_view rest = std::string_view(builtin.signature).substr(builtin.name().size());
  if (rest == " *") return call;
  const auto wrong = [&](const std::string& what) {
    return at_line(call.site.line, "`" + std::string(builtin.name()) + "` " + what);
  };
  Call out{{}, {}, call.site};
  size_t used = call.positional.size();
  while (!rest.empty()) {
    rest.remove_prefix(1);
    std::string_view parameter = rest.substr(0, rest.find(' '));
    rest.remove_prefix(parameter.size());
    const bool needed = parameter.back() == '!';
    if (needed) parameter.remove_suffix(1);
    const Value* given = call.keyword(parameter);
    if (out.positional.size() < call.positional.size()) {
      out.positional.push_back(call[out.positional.size()]);
    } else if (given != nullptr) {
      out.positional.push_back(*given);
      ++used;
    } else if (needed) {
      throw wrong("needs " + std::string(parameter));
    } else {
      out.positional.emplace_back();
    }
  }
  if (call.positional.size() > out.positional.size() || used != call.positional.size() + call.named.size())
    throw wrong("takes other arguments than `" + std::string(builtin.signature) + "` here");
  return out;
}

}  // namespace attar::jinja
