#include "runtime/formats/tokenizer/shared_vocabulary.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/split.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {

namespace {

std::string with(const std::string& hint, const std::string& way_out) {
  return way_out.empty() ? hint : hint + ", " + way_out;
}

}  // namespace

std::vector<int32_t> teacher_ids(const Tokenizer& teacher, const Tokenizer& student, const std::string& student_source,
                                 const std::string& way_out) {
  if (teacher.hash() == student.hash()) return {};
  std::unordered_map<std::string_view, int32_t> by_text;
  for (size_t id = 0; id < teacher.data().tokens.size(); ++id)
    by_text.emplace(teacher.data().tokens[id].text, static_cast<int32_t>(id));
  std::vector<int32_t> ids;
  for (const Token& token : student.data().tokens) {
    const auto found = by_text.find(token.text);
    if (teacher.data().kind != student.data().kind || found == by_text.end())
      throw input_error(student_source, "the student's vocabulary is not part of the teacher's",
                        "the same tokenizer or one trimmed from it", printable(token.text),
                        with("take a teacher and a student of one vocabulary family", way_out));
    ids.push_back(found->second);
  }
  return ids;
}

namespace {

std::string name_of(TokenizerKind kind) {
  return kind == TokenizerKind::Bpe ? "byte-level BPE" : "SPM";
}
std::string name_of(bool is_on) {
  return is_on ? "on" : "off";
}
std::string name_of(SpacePrefix prefix) {
  static constexpr const char* kNames[] = {"always", "unless there is one", "at the start unless there is one"};
  return kNames[static_cast<size_t>(prefix)];
}
std::string name_of(TokenKind kind) {
  static constexpr const char* kNames[] = {"", "normal", "unknown", "control", "user-defined", "unused", "byte"};
  return kNames[static_cast<size_t>(kind)];
}
std::string name_of(const TokenizerData& data, int32_t id) {
  return id < 0 ? "none" : printable(data.tokens[static_cast<size_t>(id)].text);
}

// Refuses the first thing in which the two differ.
class Comparison {
 public:
  Comparison(const TokenizerData& teacher, const TokenizerData& student, const std::string& source,
             const std::string& way_out)
      : teacher_(teacher), student_(student), source_(source), way_out_(way_out) {}

  void rules() const {
    same("kind of tokenizer", name_of(teacher_.kind), name_of(student_.kind));
    if (teacher_.kind == TokenizerKind::Bpe)
      same("split", std::string(canonical_pre(teacher_.pre)), std::string(canonical_pre(student_.pre)));
    same("normalizer NFC", name_of(teacher_.normalize_nfc), name_of(student_.normalize_nfc));
    same("rule that whole pieces go before merges", name_of(teacher_.ignore_merges), name_of(student_.ignore_merges));
    same("space in front of a text", name_of(teacher_.add_space_prefix), name_of(student_.add_space_prefix));
    same("space in front of a text", name_of(teacher_.space_prefix), name_of(student_.space_prefix));
  }
  void roles() const {
    same("BOS in front of a text", name_of(teacher_.add_bos), name_of(student_.add_bos));
    same("EOS behind a text", name_of(teacher_.add_eos), name_of(student_.add_eos));
    same("BOS", name_of(teacher_, teacher_.bos), name_of(student_, student_.bos));
    same("EOS", name_of(teacher_, teacher_.eos), name_of(student_, student_.eos));
  }
  // `ids` (Vs): the teacher's of each of the student's tokens.
  void tokens(const std::vector<int32_t>& ids) const {
    int32_t last = -1;
    for (size_t i = 0; i < ids.size(); ++i) {
      const Token &token = student_.tokens[i], &original = teacher_.tokens[static_cast<size_t>(ids[i])];
      const std::string shown = " of " + printable(token.text);
      const bool in_order = ids[i] > last && (ids.size() < teacher_.tokens.size() || ids[i] == static_cast<int32_t>(i));
      if (!in_order) same("id" + shown, std::to_string(ids[i]), std::to_string(i));
      same("kind" + shown, name_of(original.kind), name_of(token.kind));
      last = ids[i];
    }
  }
  // SPM merges by falling score; a Hugging Face directory keeps their order, not their values.
  void scores(const std::vector<int32_t>& ids) const {
    if (teacher_.kind != TokenizerKind::Spm) return;
    std::vector<size_t> order;
    for (size_t i = 0; i < ids.size(); ++i) {
      const Token& token = student_.tokens[i];
      const bool is_merged = decode_utf8(token.text, 0).length < token.text.size();
      if (token.kind == TokenKind::Normal && is_merged) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return student_.tokens[a].score > student_.tokens[b].score; });
    const auto score = [&](size_t i) { return teacher_.tokens[static_cast<size_t>(ids[i])].score; };
    for (size_t k = 1; k < order.size(); ++k)
      if (score(order[k]) > score(order[k - 1]))
        same("order of scores", printable(student_.tokens[order[k]].text) + " first",
             printable(student_.tokens[order[k - 1]].text) + " first");
  }
  // Those of the student are the teacher's, in their order.
  void merges() const {
    auto at = teacher_.merges.begin();
    for (const auto& merge : student_.merges) {
      at = std::find(at, teacher_.merges.end(), merge);
      if (at == teacher_.merges.end())
        same("order of merges", "no such merge at its place",
             printable(std::string(merge.first).append(" ").append(merge.second)));
      ++at;
    }
    if (teacher_.tokens.size() == student_.tokens.size())
      same("number of merges", std::to_string(teacher_.merges.size()), std::to_string(student_.merges.size()));
  }

 private:
  void same(const std::string& what, const std::string& teacher, const std::string& student) const {
    if (teacher != student)
      throw input_error(source_, "the student's tokenizer is not the teacher's: another " + what, teacher, student,
                        with("give the student the teacher's tokenizer, or one trimmed from it", way_out_));
  }

  const TokenizerData& teacher_;
  const TokenizerData& student_;
  const std::string& source_;
  const std::string& way_out_;
};

}  // namespace

void require_same_reading(const Tokenizer& teacher, const Tokenizer& student, const std::string& student_source,
                          const std::string& way_out) {
  if (teacher.hash() == student.hash()) return;
  const Comparison comparison(teacher.data(), student.data(), student_source, way_out);
  comparison.rules();
  const std::vector<int32_t> ids = teacher_ids(teacher, student, student_source, way_out);
  comparison.tokens(ids);
  comparison.scores(ids);
  comparison.merges();
  comparison.roles();
}

bool same_reading(const Tokenizer& teacher, const Tokenizer& student) {
  try {
    require_same_reading(teacher, student, "");
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace attar
