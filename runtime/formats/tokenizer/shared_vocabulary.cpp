#include "runtime/formats/tokenizer/shared_vocabulary.h"

#include <string_view>
#include <unordered_map>

#include "runtime/base/error.h"

namespace attar {

std::vector<int32_t> teacher_ids(const Tokenizer& teacher, const Tokenizer& student,
                                 const std::string& student_source) {
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
                        "take a teacher and a student of one vocabulary family");
    ids.push_back(found->second);
  }
  return ids;
}

}  // namespace attar
