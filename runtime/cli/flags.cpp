#include "runtime/cli/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/formats/numerics.h"
#include "runtime/formats/text_paths.h"

namespace attar::cli {
namespace {

std::string flag_name(const char* name) {
  std::string flag = std::string("--") + name;
  std::replace(flag.begin() + 2, flag.end(), '_', '-');
  return flag;
}

[[noreturn]] void refuse(const std::string& flag, const std::string& expected, const std::string& got) {
  throw CLI::ValidationError(flag, "expected " + expected + ", got " + (got.empty() ? "nothing" : printable(got)));
}

std::string words(WholeRange range) {
  std::string text = "a whole number";
  if (range.most != INT64_MAX)
    return text + " from " + std::to_string(range.least) + " to " + std::to_string(range.most);
  if (range.least != INT64_MIN) text += " of at least " + std::to_string(range.least);
  return text;
}

int64_t whole_of(const std::string& flag, const std::string& text, WholeRange range) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (code == std::errc::result_out_of_range && stop == end) refuse(flag, words(range) + " of 64 bits", text);
  if (code != std::errc() || stop != end || value < range.least || value > range.most) refuse(flag, words(range), text);
  return value;
}

double number_of(const std::string& flag, const std::string& text) {
  char* stop = nullptr;
  const double value = std::strtod(text.c_str(), &stop);
  if (text.empty() || stop != text.c_str() + text.size() || !std::isfinite(value)) refuse(flag, "a number", text);
  return value;
}

// Of the entry `key` of a map.
double amount_of(const std::string& flag, const std::string& key, const std::string& text) {
  double value = 0.0;
  if (!parse_amount(key, text, value))
    refuse(flag + " " + printable(key), counts_bytes(key) ? "a number or a size such as 60MB" : "a number", text);
  return value;
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}
std::string shown(const std::string& value) {
  return value;
}

using Read = std::function<void(const std::vector<std::string>&)>;
CLI::Option* add(CLI::App& command, const std::string& names, const char* help, const char* type, Read read) {
  const auto callback = [read = std::move(read)](const CLI::results_t& results) {
    read(results);
    return true;
  };
  return command.add_option(names, CLI::callback_t(callback), help)->type_name(type);
}

std::pair<std::string, std::string> split(const std::string& flag, const std::string& item) {
  const size_t equals = item.find('=');
  if (equals == std::string::npos || equals == 0) refuse(flag, "NAME=VALUE", item);
  return {item.substr(0, equals), item.substr(equals + 1)};
}

// What is given replaces the map; a name comes once.
template <class T, class ValueOf>
void add_map(CLI::App& command, std::map<std::string, T>& value, const char* name, const char* help, ValueOf value_of) {
  const std::string flag = flag_name(name);
  const Read read = [&value, flag, value_of](const std::vector<std::string>& items) {
    value.clear();
    for (const std::string& item : items) {
      const auto [key, text] = split(flag, item);
      if (!value.emplace(key, value_of(flag, key, text)).second)
        throw CLI::ValidationError(flag, printable(key) + " is given twice");
    }
  };
  std::string all;
  for (const auto& [key, one] : value) all += (all.empty() ? "" : " ") + key + "=" + shown(one);
  add(command, flag, help, "NAME=VALUE", read)->expected(1, CLI::detail::expected_max_vector_size)->default_str(all);
}

}  // namespace

void add_whole(CLI::App& command, const std::string& names, int64_t& value, const char* help, WholeRange range) {
  const auto read = [&value, names, range](const std::vector<std::string>& items) {
    value = whole_of(names, items[0], range);
  };
  add(command, names, help, "INT", read)->default_str(std::to_string(value));
}

void add_whole(CLI::App& command, const std::string& names, std::optional<int64_t>& value, const char* help,
               WholeRange range) {
  add(command, names, help, "INT",
      [&value, names, range](const std::vector<std::string>& items) { value = whole_of(names, items[0], range); });
}

void add_wholes(CLI::App& command, const std::string& names, std::vector<int64_t>& value, const char* help,
                WholeRange range) {
  const auto read = [&value, names, range](const std::vector<std::string>& items) {
    value.clear();
    for (const std::string& item : items) value.push_back(whole_of(names, item, range));
  };
  std::string all;
  for (const int64_t one : value) all += (all.empty() ? "" : ",") + std::to_string(one);
  add(command, names, help, "INT", read)
      ->default_str(all)
      ->expected(1, CLI::detail::expected_max_vector_size)
      ->delimiter(',');
}

void add_text(CLI::App& command, const std::string& names, std::string& value, const char* help) {
  const auto read = [&value](const std::vector<std::string>& items) { value = items[0]; };
  add(command, names, help, "TEXT", read)->default_str(value);
}

void add_texts(CLI::App& command, const std::string& names, std::vector<std::string>& value, const char* help) {
  add(command, names, help, "TEXT", [&value](const std::vector<std::string>& items) {
    value = items;
  })->expected(1, CLI::detail::expected_max_vector_size);
}

void add_data(CLI::App& command, std::vector<std::string>& value, const std::string& what) {
  add_texts(command, "--data", value, (what + ": " + kTextHelp).c_str());
}

void add_switch(CLI::App& command, const std::string& names, bool& value, const char* help) {
  CLI::Option* option = command.add_flag(names, value, help);
  if (names.find('!') != std::string::npos) option->default_str(value ? "true" : "false");  // which of the two holds
}

void require(CLI::App& command, const std::string& name) {
  command.get_option(name)->required();
}

void require_one(CLI::App& command, const std::string& argument, const std::string& instead) {
  CLI::Option* needed = command.get_option(argument);
  needed->required()->excludes(command.get_option(instead));
  command.get_option(instead)->trigger_on_parse()->each([needed](const std::string&) { needed->required(false); });
}

bool is_given(const CLI::App& command, const std::string& name) {
  return command.count(name) > 0;
}

void add_model(CLI::App& command, std::string& value) {
  add_text(command, "MODEL", value, "a GGUF file, a Hugging Face directory, pip:PACKAGE, or in attar hf:ORG/NAME");
  require(command, "MODEL");
}

void add_chat_template(CLI::App& command, std::string& value) {
  add_text(command, "--chat-template", value,
           "chat template: a file, or chatml, llama3, gemma, phi3 or zephyr; without it the model's own");
}

void add_special(CLI::App& command, bool& value) {
  add_switch(command, "--special", value,
             "control tokens that texts and messages spell, such as <|im_end|>, are meant; without it they are text");
}

void refuse_renamed(CLI::App& command, std::span<const RenamedField> renamed) {
  for (const RenamedField& field : renamed) {
    const std::string before = flag_name(field.before), now = flag_name(field.now);
    const Read read = [before, now](const std::vector<std::string>&) {
      throw CLI::ValidationError(before, "is called " + now + " now");
    };
    add(command, before, "", "", read)->expected(0, 1)->group("");
  }
}

void add_numerics(CLI::App& command, std::string& value) {
  add_text(command, "--numerics", value, "deployed: int8 activations, as users run it; or fp32, the reference");
}

void add_kv(CLI::App& command, std::string& value) {
  add_text(command, "--kv", value, kKvHelp);
}

void FlagAdder::operator()(bool& value, const char* name, const char* help) {
  const std::string flag = flag_name(name);
  add_switch(command_, flag + ",!--no-" + flag.substr(2), value, help);
}
void FlagAdder::operator()(int64_t& value, const char* name, const char* help) {
  add_whole(command_, flag_name(name), value, help, {});
}
void FlagAdder::operator()(double& value, const char* name, const char* help) {
  const std::string flag = flag_name(name);
  const Read read = [&value, flag](const std::vector<std::string>& items) { value = number_of(flag, items[0]); };
  add(command_, flag, help, "FLOAT", read)->default_str(shown(value));
}
void FlagAdder::operator()(std::string& value, const char* name, const char* help) {
  add_text(command_, flag_name(name), value, help);
}
void FlagAdder::operator()(std::optional<double>& value, const char* name, const char* help) {
  const std::string flag = flag_name(name);
  add(command_, flag, help, "FLOAT",
      [&value, flag](const std::vector<std::string>& items) { value = number_of(flag, items[0]); });
}
void FlagAdder::operator()(std::optional<std::string>& value, const char* name, const char* help) {
  add(command_, flag_name(name), help, "TEXT", [&value](const std::vector<std::string>& items) { value = items[0]; });
}
void FlagAdder::operator()(std::optional<std::vector<int64_t>>& value, const char* name, const char* help) {
  const std::string flag = flag_name(name);
  const Read read = [&value, flag](const std::vector<std::string>& items) {
    value.emplace();
    for (const std::string& item : items) value->push_back(whole_of(flag, item, {}));
  };
  add(command_, flag, help, "INT", read)->expected(1, CLI::detail::expected_max_vector_size)->delimiter(',');
}
void FlagAdder::operator()(std::vector<std::string>& value, const char* name, const char* help) {
  add_texts(command_, flag_name(name), value, help);
}
void FlagAdder::operator()(std::map<std::string, double>& value, const char* name, const char* help) {
  add_map(command_, value, name, help, amount_of);
}
void FlagAdder::operator()(std::map<std::string, std::string>& value, const char* name, const char* help) {
  add_map(command_, value, name, help,
          [](const std::string&, const std::string&, const std::string& text) { return text; });
}

}  // namespace attar::cli
