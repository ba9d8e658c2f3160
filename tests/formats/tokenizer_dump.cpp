// What tests/oracle/tokenizer_test.py compares with other people's tokenizers.
//   tokenizer_dump MODEL ids [special]   a JSON string a line -> {"ids": [...], "ends": [...], "text": decoded} a line
//   tokenizer_dump MODEL chats FILE.jsonl [TEMPLATE]   [{"ids": [...], "counted": [...]}, ...] a chat a line
//   tokenizer_dump MODEL hf DIR          writes the tokenizer as a Hugging Face directory
//   tokenizer_dump MODEL ends            the ids that end a reply
//   tokenizer_dump - nfc                 a JSON string a line -> its canonical composition
//   tokenizer_dump MODEL rate FILE       MB/s of encoding a text file, median of 5 rounds of at least 0.2 s
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "runtime/formats/tokenizer/tokenizer.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace {

attar::TokenizerData open(const std::string& path) {
  if (std::filesystem::is_directory(path)) return attar::read_hf_tokenizer(path);
  return attar::read_gguf_tokenizer(attar::GgufFile::open(path));
}

void print_ids(const attar::Tokenizer& tokenizer, attar::EncodeOptions options) {
  using Json = nlohmann::json;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text = Json::parse(line).get<std::string>();
    const std::vector<int32_t> ids = tokenizer.encode(text, options);
    const attar::EncodedText encoded = tokenizer.encode_with_ends(text, options);
    if (encoded.ids != ids) throw attar::usage_error("encode_with_ends", "gives other ids than encode");
    std::cout << Json({{"ids", ids}, {"ends", encoded.ends}, {"text", tokenizer.decode(ids, options.parse_special)}})
                     .dump(-1, ' ', false, Json::error_handler_t::replace)
              << "\n";
  }
}

void print_chats(const attar::Tokenizer& tokenizer, const std::string& path, const std::string& chat_template) {
  attar::TextReader reader(tokenizer, {.chat_template = chat_template});
  for (const attar::Document& document : attar::read_documents(path)) {
    nlohmann::json texts = nlohmann::json::array();
    for (const attar::ModelText& text : reader.read(document)) {
      const attar::EncodedText encoded = attar::encode(tokenizer, text);
      texts.push_back({{"ids", encoded.ids}, {"counted", attar::counted_tokens(encoded, text)}});
    }
    std::cout << texts.dump() << "\n";
  }
}

void print_ends(const attar::Tokenizer& tokenizer) {
  nlohmann::json ids = nlohmann::json::array();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.ends_generation(id)) ids.push_back(id);
  std::cout << ids.dump() << "\n";
}

void print_nfc() {
  using Json = nlohmann::json;
  for (std::string line; std::getline(std::cin, line);)
    std::cout << Json(attar::to_nfc(Json::parse(line).get<std::string>())).dump() << "\n";
}

void print_rate(const attar::Tokenizer& tokenizer, const std::string& path) {
  const std::string text = attar::read_file(path);
  std::vector<double> rates;
  size_t n_ids = 0;
  for (int round = 0; round < 5; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    double seconds = 0;
    size_t bytes = 0;
    for (; seconds < 0.2; bytes += text.size()) {
      n_ids = tokenizer.encode(text).size();
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    rates.push_back(static_cast<double>(bytes) / 1e6 / seconds);
  }
  std::sort(rates.begin(), rates.end());
  std::printf("%.1f MB/s, %.3f bytes a token\n", rates[2],
              static_cast<double>(text.size()) / static_cast<double>(n_ids));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() < 2)
      throw attar::usage_error("tokenizer_dump", "needs MODEL and ids, chats, hf, ends, nfc or rate");
    if (arguments[1] == "nfc") return print_nfc(), 0;
    attar::TokenizerData data = open(arguments[0]);
    if (arguments[1] == "hf") return attar::write_hf_tokenizer(arguments.at(2), data), 0;
    const attar::Tokenizer tokenizer(std::move(data), arguments[0]);
    if (arguments[1] == "ends") return print_ends(tokenizer), 0;
    if (arguments[1] == "rate") return print_rate(tokenizer, arguments.at(2)), 0;
    if (arguments[1] == "chats")
      return print_chats(tokenizer, arguments.at(2), arguments.size() > 3 ? arguments[3] : ""), 0;
    const bool special = arguments.size() > 2;
    return print_ids(tokenizer, {.add_special = special, .parse_special = special}), 0;
  } catch (const attar::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
