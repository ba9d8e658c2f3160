#include "runtime/formats/text_file.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/text_paths.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLinesTold = 8;
constexpr const char* kInputName = "standard input";
constexpr std::string_view kSeparator = "<|endoftext|>";

bool ends_with(const std::string& text, std::string_view ending) {
  return text.size() >= ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

std::string unpack_gzip(const std::string& path, size_t limit_bytes) {
  std::string packed = read_file(path, limit_bytes);
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK)
    throw Error(ErrorKind::Resources, {.where = path, .what = "zlib could not start"});
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> end(&stream, inflateEnd);
  std::string out;
  std::vector<char> chunk(size_t{1} << 18);
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = static_cast<uInt>(std::min<size_t>(packed.size(), UINT32_MAX));
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&stream, Z_NO_FLUSH);
    out.append(chunk.data(), chunk.size() - stream.avail_out);
    if (out.size() > limit_bytes) break;
    if (status == Z_STREAM_END && stream.avail_in > 0) status = inflateReset(&stream);  // concatenated members
  }
  if (out.size() > limit_bytes)
    throw input_error(path, "unpacks to too much text", "at most " + std::to_string(limit_bytes) + " bytes");
  if (status != Z_STREAM_END) throw input_error(path, "is a broken gzip file", "", "", "fetch it again");
  return out;
}

void check_utf8(const std::string& text, const std::string& path) {
  const size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return;
  const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(valid), '\n') + 1;
  throw input_error(path + ":" + std::to_string(line), "is not UTF-8", "", printable(text.substr(valid, 4)),
                    "convert the file to UTF-8");
}

// Lines without their ends; visit(line, number from 1).
template <class Visit>
void for_each_line(const std::string& text, Visit&& visit) {
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string_view line(text.data() + begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    visit(line, ++number);
    begin = end + 1;
  }
}

std::vector<Document> plain_documents(const std::string& text, const std::string& path) {
  std::vector<Document> documents;
  Document current{.where = path + ":1"};
  const auto finish = [&](size_t next_line) {
    while (!current.text.empty() && current.text.back() == '\n') current.text.pop_back();
    if (!current.text.empty()) documents.push_back(std::move(current));
    current = Document{.where = path + ":" + std::to_string(next_line)};
  };
  for_each_line(text, [&](std::string_view line, size_t number) {
    if (line == kSeparator) return finish(number + 1);
    if (current.text.empty() && line.empty()) return;
    current.text += line;
    current.text += '\n';
  });
  finish(0);
  return documents;
}

// Takes `weight` out of a line or a message; 1 where it has none.
float take_weight(Json& json, const std::string& where) {
  constexpr double kMost = 1000.0;
  const auto found = json.find("weight");
  if (found == json.end()) return 1.0f;
  const double weight = found->is_number() ? found->get<double>() : -1.0;
  if (!(weight >= 0.0 && weight <= kMost))
    throw input_error(where, "has a `weight` that cannot be", "a number from 0 to 1000", printable(found->dump()));
  json.erase(found);
  return static_cast<float>(weight);
}

// Content is text, or parts of which those of type text are the message's words; with tool calls it may be absent.
ChatMessage chat_message(const Json& message, const std::string& where) {
  const auto has = [](const Json& json, const char* key, Json::value_t type) {
    return json.is_object() && json.contains(key) && json[key].type() == type;
  };
  const bool plain = has(message, "content", Json::value_t::string);
  const bool parts = has(message, "content", Json::value_t::array);
  if (!has(message, "role", Json::value_t::string) ||
      (!plain && !parts && !has(message, "tool_calls", Json::value_t::array)))
    throw input_error(where, "a message lacks `role` or `content`", "role as text; content as text or parts");
  ChatMessage out{message["role"], plain ? message["content"].get<std::string>() : ""};
  if (plain && message.size() == 2) return out;
  out.json = message.dump();
  for (const Json& part : parts ? message["content"] : Json::array())
    if (has(part, "text", Json::value_t::string)) out.content += part["text"].get<std::string>();
  return out;
}

Document json_document(std::string_view line, const std::string& where) {
  check_json_depth(line, where);
  Json json = Json::parse(std::string(line), nullptr, false);
  if (!json.is_object())
    throw input_error(where, "is no JSON object", "a line such as {\"text\": ...} or {\"messages\": [...]}",
                      printable(std::string(line.substr(0, 60))));
  Document document{.where = where};
  const float weight = take_weight(json, where);
  if (const auto messages = json.find("messages"); messages != json.end()) {
    if (!messages->is_array() || messages->empty()) throw input_error(where, "`messages` is no list of messages");
    for (Json& message : *messages) {
      const bool own_weight = message.is_object() && message.contains("weight");
      document.weights.push_back(own_weight ? weight * take_weight(message, where) : weight);
      document.messages.push_back(chat_message(message, where));
      if (own_weight && document.messages.back().role != "assistant")
        throw input_error(where, "has a `weight` on a message that is not learned", "on what the assistant says",
                          printable(document.messages.back().role));
    }
    if (const auto tools = json.find("tools"); tools != json.end() && !tools->is_null()) {
      if (!tools->is_array()) throw input_error(where, "`tools` is no list");
      if (!tools->empty()) document.tools = tools->dump();
    }
  } else if (const auto text = json.find("text"); text != json.end()) {
    if (!text->is_string()) throw input_error(where, "`text` is no text", "a string", printable(text->dump()));
    document.text = *text;
    document.weights = {weight};
  } else {
    throw input_error(where, "has neither `text` nor `messages`");
  }
  if (std::all_of(document.weights.begin(), document.weights.end(), [](float w) { return w == 1.0f; }))
    document.weights.clear();
  return document;
}

// Without a byte-order mark.
std::string checked_text(std::string text, const std::string& name) {
  if (text.rfind("\xEF\xBB\xBF", 0) == 0) text.erase(0, 3);
  check_utf8(text, name);
  return text;
}

// The first line that is wrong is told whole, the others by their numbers.
std::vector<Document> json_documents(const std::string& text, const std::string& path) {
  std::vector<Document> documents;
  std::optional<Error> first;
  std::string others;
  size_t n_others = 0;
  for_each_line(text, [&](std::string_view line, size_t number) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) return;
    try {
      Document document = json_document(line, path + ":" + std::to_string(number));
      if (!document.text.empty() || document.is_chat()) documents.push_back(std::move(document));
    } catch (const Error& error) {
      if (!first)
        first = error;
      else if (++n_others <= kLinesTold)
        others += (others.empty() ? "" : ", ") + std::to_string(number);
    }
  });
  if (first && n_others > 0) {
    Error::Parts parts = first->parts();
    parts.hint = "lines " + others + (n_others > kLinesTold ? ", ..." : "") + " are wrong too, " +
                 std::to_string(n_others + 1) + " in all";
    throw Error(first->kind(), parts);
  }
  if (first) throw *first;
  return documents;
}

// What came before is not taken for the whole.
[[noreturn]] void refuse_input(int code) {
  if (code == EINTR) throw Error(ErrorKind::Interrupted, {.where = kInputName, .what = "was not read to its end"});
  throw input_error(kInputName, std::string("cannot be read: ") + std::strerror(code));
}

std::vector<Document> standard_input_documents() {
  const std::string text = read_standard_input();
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string::npos && text[first] == '{';
  std::vector<Document> documents = json ? json_documents(text, kInputName) : plain_documents(text, kInputName);
  if (documents.empty()) throw input_error(kInputName, "holds no text", "at least one document that is not empty");
  return documents;
}

}  // namespace

std::string document_text(const Document& document) {
  if (!document.is_chat()) return document.text;
  std::string text;
  for (const ChatMessage& message : document.messages) text += (text.empty() ? "" : "\n") + message.content;
  return text;
}

std::string read_text_file(const std::string& path, size_t limit_bytes) {
  return checked_text(ends_with(path, ".gz") ? unpack_gzip(path, limit_bytes) : read_file(path, limit_bytes), path);
}

std::string read_standard_input() {
  std::string text;
  std::vector<char> part(size_t{1} << 16);
  for (bool ended = false; !ended;) {  // a terminal whose end was read would be asked again
    const size_t n = std::fread(part.data(), 1, part.size(), stdin);
    ended = n < part.size();
    if (ended && std::ferror(stdin) != 0) refuse_input(errno);
    text.append(part.data(), n);
    if (text.size() > kMostTextBytes)
      throw input_error(kInputName, "holds too much text", "at most " + std::to_string(kMostTextBytes) + " bytes");
  }
  if (text.empty()) throw input_error(kInputName, "holds no text", "", "", "it can be read once");
  return checked_text(std::move(text), kInputName);
}

std::vector<Document> read_documents(const std::string& path, size_t limit_bytes) {
  if (!names_text(path))
    throw input_error(path, "has an ending that Attar does not know", ".txt or .jsonl, also with .gz");
  const bool json = ends_with(path, ".jsonl") || ends_with(path, ".jsonl.gz");
  const std::string text = read_text_file(path, limit_bytes);
  std::vector<Document> documents = json ? json_documents(text, path) : plain_documents(text, path);
  if (documents.empty()) throw input_error(path, "holds no text", "at least one document that is not empty");
  return documents;
}

std::vector<Document> read_all_documents(const std::vector<std::string>& given) {
  std::vector<Document> all;
  for (const std::string& path : text_paths(given))
    for (Document& document : path == kStandardInput ? standard_input_documents() : read_documents(path))
      all.push_back(std::move(document));
  return all;
}

}  // namespace attar
