// Text and chat files: .txt (documents separated by a line `<|endoftext|>`), .jsonl (a line {"text": ...} or
// {"messages": [...]}, which may have "tools", tool calls and content in parts; "weight" of a line or of what the
// assistant says is how much it counts when it is learned), each also .gz.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/formats/jinja/chat_template.h"

namespace attar {

// 4 GiB, or what a size can count where it has 32 bits.
inline constexpr size_t kMostTextBytes = sizeof(size_t) > 4 ? static_cast<size_t>(uint64_t{4} << 30) : SIZE_MAX;

struct Document {
  std::string text{};                   // plain text, or empty when it is a chat
  std::vector<ChatMessage> messages{};  // a chat, or empty
  std::string tools{};                  // of a chat: JSON, for the template; or empty
  std::vector<float> weights{};         // of the text, or of each message: how much it counts; empty: 1 each
  std::string where{};                  // file:line, for messages
  bool is_chat() const { return !messages.empty(); }
};

// Error{Input} for a missing file, another ending, an empty file, text that is not UTF-8 (with line), JSON that is
// broken or lacks both keys (with line), a broken gzip stream. A byte-order mark and CRLF are accepted. Empty documents
// are skipped. `limit_bytes` bounds what is unpacked.
std::vector<Document> read_documents(const std::string& path, size_t limit_bytes = kMostTextBytes);

// Those of all files that the arguments name (text_paths.h), in their order. Standard input is JSON lines where its
// first character is `{`, else plain text.
std::vector<Document> read_all_documents(const std::vector<std::string>& given);
// All of standard input, checked to be UTF-8. Error{Input}: it is empty, as it is the second time.
std::string read_standard_input();

// The text of a file, unpacked when it ends in .gz, checked to be UTF-8.
std::string read_text_file(const std::string& path, size_t limit_bytes = kMostTextBytes);

// The text alone of a document: a chat's messages joined by line breaks. What verify reads and hashes.
std::string document_text(const Document& document);

}  // namespace attar
