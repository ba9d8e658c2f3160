#include "runtime/judge/aligned_text.h"

#include <utility>

namespace attar::runtime {

TextTokens tokens_of(const Tokenizer& tokenizer, const ModelText& text) {
  EncodedText encoded = encode(tokenizer, text);
  std::vector<uint8_t> counted = counted_tokens(encoded, text);
  return {std::move(encoded.ids), std::move(encoded.ends), std::move(counted)};
}

TextTokens window_of(const Tokenizer& tokenizer, const TextTokens& tokens, size_t begin, size_t end) {
  TextTokens out;
  const auto part = [&](const auto& values, auto& into) {
    into.insert(into.end(), values.begin() + static_cast<std::ptrdiff_t>(begin),
                values.begin() + static_cast<std::ptrdiff_t>(end));
  };
  if (begin > 0) {
    out.ids.assign(tokenizer.start().begin(), tokenizer.start().end());
    out.ends.assign(out.ids.size(), tokens.ends[begin - 1]);
    out.counted.assign(out.ids.size(), 0);
  }
  part(tokens.ids, out.ids);
  part(tokens.ends, out.ends);
  part(tokens.counted, out.counted);
  return out;
}

AlignedText::AlignedText(TextTokens of_teacher, TextTokens of_student)
    : teacher(std::move(of_teacher)), student(std::move(of_student)), partner(teacher.ids.size(), kNone) {
  size_t s = 0;
  for (size_t t = 0; t < partner.size(); ++t) {
    while (s < student.ends.size() && student.ends[s] < teacher.ends[t]) ++s;
    if (s < student.ends.size() && student.ends[s] == teacher.ends[t]) partner[t] = s++;
  }
}

Stretch next_stretch(const AlignedText& text, const Stretch& last, size_t most) {
  Stretch next{last.teacher_end, last.teacher_end, last.student_end, last.student_end};
  for (size_t t = next.teacher_begin; t < text.partner.size(); ++t) {
    if (text.partner[t] == AlignedText::kNone) continue;
    const size_t s = text.partner[t];
    const bool too_long = t + 1 - next.teacher_begin > most || s + 1 - next.student_begin > most;
    if (too_long && next.teacher_end > next.teacher_begin) break;
    next.teacher_end = t + 1;
    next.student_end = s + 1;
  }
  return next;
}

}  // namespace attar::runtime
