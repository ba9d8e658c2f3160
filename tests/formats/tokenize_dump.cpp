// tokenize_dump MODEL|TOKENIZER_DIR IN OUT: a JSON list of texts to a JSON list of id lists, control tokens parsed.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/formats/gguf_tokenizer.h"
#include "runtime/formats/model_file.h"

int main(int argc, char** argv) {
  using namespace attar;
  if (argc != 4) return 2;
  const bool directory = std::filesystem::is_directory(argv[1]);
  const Tokenizer tokenizer(directory ? read_hf_tokenizer(argv[1]) : read_gguf_tokenizer(GgufFile::open(resolve_model_path(argv[1]))));
  nlohmann::json out = nlohmann::json::array();
  for (const nlohmann::json& text : nlohmann::json::parse(read_file(argv[2]))) {
    const std::vector<int32_t> ids = tokenizer.encode(text.get<std::string>(), {.add_special = false, .parse_special = true});
    out.push_back(ids);
    if (tokenizer.decode(ids, true) != text.get<std::string>()) std::fprintf(stderr, "no round trip: %s\n", text.dump().c_str());
  }
  write_file_atomically(argv[3], out.dump());
  return 0;
}
