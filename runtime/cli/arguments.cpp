#include "runtime/cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/words/suggestion.h"
#include "runtime/formats/text_paths.h"

namespace attar::cli {
namespace {

// Verbs that attar alone has.
constexpr const char* kToolkit[] = {"run",  "prune",  "distill", "quantize", "export",
                                    "eval", "doctor", "recipes", "report"};

// No number, and no text that begins with a dash as the items of a list do: "- milk".
bool is_flag(const std::string& word) {
  const size_t name = word.find_first_not_of("-0123456789.");
  return word.size() > 1 && word[0] == '-' && name != std::string::npos && word[name] != ' ' && word[name] != '\n';
}

// "--data=a.txt" -> "--data"; "-n5" -> "-n"
std::string name_of(const std::string& word) {
  return word[1] == '-' ? word.substr(0, word.find('=')) : word.substr(0, 2);
}

// "--data=--json", "-p-n"
std::string attached_to(const std::string& name, const std::string& value) {
  return name + (name.size() > 2 ? "=" : "") + value;
}

const CLI::Option* find_flag(const CLI::App& app, const CLI::App* verb, const std::string& name) {
  const CLI::Option* found = verb != nullptr ? verb->get_option_no_throw(name) : nullptr;
  return found != nullptr ? found : app.get_option_no_throw(name);
}

std::vector<std::string> long_names(const CLI::App& app, const CLI::App* verb) {
  std::vector<std::string> names;
  for (const CLI::App* one : {verb, &app})
    for (const CLI::Option* option : one != nullptr ? one->get_options() : std::vector<const CLI::Option*>())
      if (!option->get_group().empty())  // shown in help
        for (const std::string& name : option->get_lnames()) names.push_back(name);
  return names;
}

// "attar recipes new"
std::string whole_name(const CLI::App& app, const CLI::App* verb) {
  return verb == nullptr || verb == &app ? app.get_name()
                                         : whole_name(app, verb->get_parent()) + " " + verb->get_name();
}

[[noreturn]] void refuse_flag(const CLI::App& app, const CLI::App* verb, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  const std::string whole = whole_name(app, verb);
  const std::string near = nearest(name.substr(name.find_first_not_of('-')), long_names(app, verb));
  throw usage_error(whole, "has no flag " + printable(name), "", "",
                    near.empty() ? "" : "did you mean --" + near + "?");
}

// The option of a flag. Error{Usage}: there is none, or -word was meant for --word.
const CLI::Option& flag_of(const CLI::App& app, const CLI::App* verb, const std::string& word) {
  const std::string name = name_of(word);
  const CLI::Option* found = find_flag(app, verb, name);
  const std::string single = word[1] == '-' ? "" : word.substr(1, word.find('=') - 1);
  if (found == nullptr || (single.size() > 1 && find_flag(app, verb, "--" + single) != nullptr))
    refuse_flag(app, verb, word);
  return *found;
}

[[noreturn]] void refuse_verb(const CLI::App& app, const std::string& word) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    verbs.push_back(verb->get_name());
  const bool toolkit = std::find(std::begin(kToolkit), std::end(kToolkit), word) != std::end(kToolkit);
  const std::string near = nearest(word, verbs);
  throw usage_error(app.get_name(), "has no verb " + printable(word), "", "",
                    toolkit        ? "it is one of the toolkit: attar " + word
                    : near.empty() ? ""
                                   : "did you mean " + near + "?");
}

// Whether `word` may be one more value of a list.
bool continues(const CLI::Option& option, const std::string& word) {
  if (is_flag(word)) return false;
  if (option.get_type_name() == "NAME=VALUE") return word.find('=') != std::string::npos;
  if (option.get_type_name() == "INT") return word.find_first_not_of("0123456789,") == std::string::npos;
  return true;
}

struct Word {
  std::string text;
  std::string flag{};  // of one more value of a list of texts: whose it is, unless an argument needs it
  bool loose = false;  // an argument of the verb
};

// What a verb is given a name for, as `recipes new`; nullptr: nothing of that name.
const CLI::App* form_of(const CLI::App& verb, const std::string& word) {
  for (const CLI::App* form : verb.get_subcommands([](const CLI::App*) { return true; }))
    if (form->get_name() == word) return form;
  return nullptr;
}

class Reader {
 public:
  Reader(const CLI::App& app, const std::vector<std::string>& given) : app_(app), given_(given) {}

  Arguments read() {
    while (at_ < given_.size()) take();
    return_to_arguments();
    Arguments out{.words = {},
                  .verb = verb_ != nullptr ? whole_name(app_, verb_).substr(app_.get_name().size() + 1) : ""};
    for (const Word& word : words_) {
      if (!word.flag.empty()) out.words.push_back(word.flag);
      out.words.push_back(word.text);
    }
    return out;
  }

 private:
  void take() {
    const std::string& word = given_[at_++];
    if (word == "--") {
      words_.push_back({word});
      while (at_ < given_.size()) words_.push_back({.text = given_[at_++], .loose = true});
    } else if (is_flag(word)) {
      take_flag(word);
    } else if (verb_ == nullptr) {
      take_verb(word);
    } else if (const CLI::App* form = form_of(*verb_, word); form != nullptr) {
      verb_ = form;
      words_.push_back({word});
    } else {
      words_.push_back({.text = word, .loose = true});
    }
  }

  void take_verb(const std::string& word) {
    if (word == "help") {
      words_.push_back({"--help"});
      return;
    }
    verb_ = form_of(app_, word);
    if (verb_ == nullptr) refuse_verb(app_, word);
    // `help VERB`: the help of the verb, which stands behind it.
    const bool help = !words_.empty() && words_.back().text == "--help";
    if (help) words_.pop_back();
    words_.push_back({word});
    if (help) words_.push_back({"--help"});
  }

  void take_flag(const std::string& word) {
    const CLI::Option& option = flag_of(app_, verb_, word);
    const std::string name = name_of(word);
    given_flags_.push_back(&option);
    words_.push_back({word});
    if (option.get_items_expected() == 0) return;
    const bool attached = word != name, several = option.get_expected_max() > 1;
    if (!several && std::count(given_flags_.begin(), given_flags_.end(), &option) > 1)
      throw usage_error(whole_name(app_, verb_), name + " is given twice");
    if (!attached && (at_ == given_.size() || names_flag(given_[at_])))
      throw usage_error(whole_name(app_, verb_), name + " is given no value", "", "",
                        at_ == given_.size() ? "" : "a text like that is written " + attached_to(name, given_[at_]));
    if (!attached) words_.push_back({given_[at_++]});
    if (!several) return;
    while (at_ < given_.size() && continues(option, given_[at_])) {
      const std::string& more = given_[at_++];
      if (option.get_type_name() == "TEXT")
        words_.push_back({.text = more, .flag = name});
      else
        words_.insert(words_.end(), {Word{name}, Word{more}});
    }
  }

  // Whether a word is a flag of the verb, spelled out, where a value could stand.
  bool names_flag(const std::string& word) const {
    return is_flag(word) && (word[1] == '-' || word.size() == 2) && find_flag(app_, verb_, name_of(word)) != nullptr;
  }

  // By its flag, or by one that takes its place.
  bool is_given(const CLI::Option& argument) const {
    return std::any_of(given_flags_.begin(), given_flags_.end(), [&](const CLI::Option* flag) {
      return flag == &argument || argument.get_excludes().contains(const_cast<CLI::Option*>(flag));
    });
  }

  // What the verb's arguments still need was no value of a list: of each run of values the last ones.
  void return_to_arguments() {
    int64_t missing = -std::count_if(words_.begin(), words_.end(), [](const Word& word) { return word.loose; });
    for (const CLI::Option* option : verb_ != nullptr ? verb_->get_options() : std::vector<const CLI::Option*>())
      if (option->get_positional() && option->get_required() && !is_given(*option)) ++missing;
    for (size_t i = words_.size(); i-- > 0 && missing > 0;) {
      const bool last = i + 1 == words_.size() || words_[i + 1].flag.empty();
      if (words_[i].flag.empty() || !last || names_text(words_[i].text)) continue;
      words_[i].flag.clear();
      --missing;
    }
  }

  const CLI::App& app_;
  const std::vector<std::string>& given_;
  size_t at_ = 0;
  const CLI::App* verb_ = nullptr;
  std::vector<Word> words_;
  std::vector<const CLI::Option*> given_flags_;
};

}  // namespace

Arguments arguments_of(const CLI::App& app, const std::vector<std::string>& given) {
  return Reader(app, given).read();
}

}  // namespace attar::cli
