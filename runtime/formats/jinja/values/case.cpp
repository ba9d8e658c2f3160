// Source: Unicode's SpecialCasing.txt, its rules worked out of the decompositions that utf8proc has.
#include "runtime/formats/jinja/values/case.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {
namespace {

constexpr int32_t kIotaBelow = 0x345;  // the iota written below a Greek vowel; its capital stands beside it

enum class Case { Upper, Title };

utf8proc_category_t category(int32_t code) {
  return utf8proc_category(code);
}
bool is_cased(int32_t code) {
  return utf8proc_toupper(code) != code || utf8proc_tolower(code) != code ||
         (category(code) >= UTF8PROC_CATEGORY_LU && category(code) <= UTF8PROC_CATEGORY_LT);
}

std::vector<int32_t> decomposed(int32_t code) {
  const utf8proc_property_t* property = utf8proc_get_property(code);
  if (property->decomp_type != 0 && property->decomp_type != UTF8PROC_DECOMP_TYPE_COMPAT) return {code};
  int32_t parts[32];
  int last_class = 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  const auto n = utf8proc_decompose_char(code, parts, 32, options, &last_class);
  return n > 0 && n <= 32 ? std::vector<int32_t>(parts, parts + n) : std::vector<int32_t>{code};
}

void append_upper(int32_t code, Case want, std::string& to) {
  if (code == 0xDF) return void(to += want == Case::Upper ? "SS" : "Ss");
  const int32_t simple = want == Case::Upper ? utf8proc_toupper(code) : utf8proc_totitle(code);
  const bool lower = category(code) == UTF8PROC_CATEGORY_LL || category(code) == UTF8PROC_CATEGORY_LT;
  std::vector<int32_t> parts = lower ? decomposed(code) : std::vector<int32_t>{code};
  const bool iota = std::find(parts.begin(), parts.end(), kIotaBelow) != parts.end();
  const bool is_title = want == Case::Title && category(code) == UTF8PROC_CATEGORY_LT;
  if (parts.size() == 1 || is_title || (simple != code && !(iota && want == Case::Upper)))
    return append_utf8(to, static_cast<uint32_t>(simple));
  std::string out;
  bool done = false;
  for (const int32_t part : parts) {
    if (part == kIotaBelow) continue;
    const bool raise = want == Case::Upper || (!done && is_cased(part));
    append_utf8(out, static_cast<uint32_t>(raise ? utf8proc_toupper(part) : part));
    done |= is_cased(part);
  }
  to += iota ? to_nfc(out) : out;
  if (iota) append_utf8(to, want == Case::Upper ? 0x399 : kIotaBelow);
}

void append_lower(int32_t code, std::string& to) {
  if (code == 0x130) return void(to += "i\u0307");
  append_utf8(to, static_cast<uint32_t>(utf8proc_tolower(code)));
}

// Each character by its code point; bytes that are not UTF-8 stay.
template <typename Change>
Text changed(TextView text, const Change& change, ByteChange plain = nullptr) {
  return with_each_character(
      text,
      [&](std::string_view character, std::string& to) {
        if (valid_utf8_prefix(character) != character.size())
          to += character;
        else
          change(static_cast<int32_t>(decode_utf8(character, 0).code_point), to);
      },
      plain);
}

int plain_lower(unsigned char c) {
  return c >= 0x80 ? -1 : c >= 'A' && c <= 'Z' ? c + 32 : c;
}
int plain_upper(unsigned char c) {
  return c >= 0x80 ? -1 : c >= 'a' && c <= 'z' ? c - 32 : c;
}

// A sigma at the end of a word has a form of its own.
class SigmaRule {
 public:
  explicit SigmaRule(std::string_view text) : text_(text) {}
  // Of the characters in their order: whether this one is such a sigma.
  bool at_end_of_word(int32_t code) {
    const size_t here = at_;
    at_ += character_length(text_, at_);
    const bool final = code == 0x3A3 && after_cased_ && !cased_follows(at_);
    if (!ignorable(code)) after_cased_ = is_cased(code);
    return final && here < at_;
  }

 private:
  static bool ignorable(int32_t code) {  // Unicode: Case_Ignorable
    const utf8proc_category_t kind = category(code);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
           kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || code == '\'' || code == '.' || code == ':' ||
           code == 0xB7 || code == 0x2019;
  }
  bool cased_follows(size_t at) const {
    for (size_t length = 0; at < text_.size(); at += length) {
      length = character_length(text_, at);
      if (valid_utf8_prefix(text_.substr(at, length)) != length) return false;
      const auto code = static_cast<int32_t>(decode_utf8(text_, at).code_point);
      if (!ignorable(code)) return is_cased(code);
    }
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool after_cased_ = false;
};

}  // namespace

Text upper_cased(TextView text) {
  return changed(
      text, [](int32_t code, std::string& to) { append_upper(code, Case::Upper, to); }, plain_upper);
}

Text lower_cased(TextView text) {
  if (text.bytes.find("\u03A3") == std::string_view::npos) return changed(text, append_lower, plain_lower);
  SigmaRule rule(text.bytes);
  return with_each_character(text, [&](std::string_view character, std::string& to) {
    const bool valid = valid_utf8_prefix(character) == character.size();
    const auto code = valid ? static_cast<int32_t>(decode_utf8(character, 0).code_point) : 0;
    if (rule.at_end_of_word(code))
      to += "\u03C2";
    else if (valid)
      append_lower(code, to);
    else
      to += character;
  });
}

Text case_folded(TextView text) {
  return changed(text, [](int32_t code, std::string& to) {
    int32_t parts[8];
    int last_class = 0;
    const auto n = utf8proc_decompose_char(code, parts, 8, UTF8PROC_CASEFOLD, &last_class);
    for (int i = 0; i < std::min<int>(static_cast<int>(n), 8); ++i) append_utf8(to, static_cast<uint32_t>(parts[i]));
  });
}

Text case_swapped(TextView text) {
  return changed(text, [](int32_t code, std::string& to) {
    if (category(code) == UTF8PROC_CATEGORY_LT)
      append_utf8(to, static_cast<uint32_t>(code));
    else if (utf8proc_tolower(code) != code)
      append_lower(code, to);
    else
      append_upper(code, Case::Upper, to);
  });
}

Text capitalized(TextView text) {
  if (text.empty()) return {};
  const size_t first = character_length(text.bytes, 0);
  Text out = changed(text.substr(0, first), [](int32_t code, std::string& to) { append_upper(code, Case::Title, to); });
  return out.append(lower_cased(text.substr(first)));
}

Text title_cased(TextView text, Words words) {
  bool start = true;
  return changed(text, [&, words](int32_t code, std::string& to) {
    if (start)
      append_upper(code, words == Words::Blanks ? Case::Upper : Case::Title, to);
    else
      append_lower(code, to);
    std::string character;
    append_utf8(character, static_cast<uint32_t>(code));
    start = words == Words::Letters
                ? !is_cased(code)
                : is_blank(character) || std::string_view("-({[<").find(character) != std::string_view::npos;
  });
}

bool is_of_kind(std::string_view text, std::string_view method) {
  struct Letter {
    int32_t code;
    utf8proc_category_t kind;
    CharClass known;
    bool upper() const { return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LT; }
    bool lower() const { return kind == UTF8PROC_CATEGORY_LL; }
  };
  using Fits = bool (*)(const Letter& letter, bool starts);  // starts: no letter with a case stands before it
  static constexpr std::pair<std::string_view, Fits> kKinds[] = {
      {"isalpha", [](const Letter& l, bool) { return l.known == CharClass::Letter; }},
      {"isalnum", [](const Letter& l, bool) { return l.known == CharClass::Letter || l.known == CharClass::Number; }},
      {"isdecimal", [](const Letter& l, bool) { return l.kind == UTF8PROC_CATEGORY_ND; }},
      {"isdigit", [](const Letter& l, bool) { return l.kind == UTF8PROC_CATEGORY_ND; }},
      {"isnumeric", [](const Letter& l, bool) { return l.known == CharClass::Number; }},
      {"isspace",
       [](const Letter& l, bool) {
         return l.known == CharClass::Space || l.known == CharClass::Newline || (l.code >= 0x1c && l.code <= 0x1f);
       }},
      {"isascii", [](const Letter& l, bool) { return l.code < 0x80; }},
      {"islower", [](const Letter& l, bool) { return !l.upper(); }},
      {"isupper", [](const Letter& l, bool) { return !l.lower(); }},
      {"istitle", [](const Letter& l, bool starts) { return starts ? !l.lower() : !l.upper(); }},
  };
  const Fits fits =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const auto& k) { return k.first == method; })->second;
  bool any_cased = false, starts = true;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    length = character_length(text, at);
    if (valid_utf8_prefix(text.substr(at, length)) != length) return false;
    const auto code = static_cast<int32_t>(decode_utf8(text, at).code_point);
    const Letter letter{code, category(code), char_class(static_cast<uint32_t>(code))};
    if (!fits(letter, starts)) return false;
    starts = !letter.upper() && !letter.lower();
    any_cased |= !starts;
  }
  if (method == "isascii") return true;
  return method == "islower" || method == "isupper" || method == "istitle" ? any_cased : !text.empty();
}

}  // namespace attar::jinja
