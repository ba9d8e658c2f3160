// A recipe: parsed, checked whole, written with its defaults. The first line may hold an override: "#=key.path=value".
#include "recipes/schema/recipe.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  const std::string_view text = fuzz::as_text(data, size);
  const std::string path = folder.put("recipe.yaml", text);
  std::vector<std::string> overrides;
  if (text.starts_with("#=")) overrides.emplace_back(text.substr(2, text.find('\n') - 2));
  fuzz::may_refuse([&] { resolved_yaml(parse_recipe(path, overrides)); });
  return 0;
}
