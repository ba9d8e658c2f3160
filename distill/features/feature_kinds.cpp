#include "distill/features/feature_kinds.h"

#include <algorithm>
#include <charconv>

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr FeatureKind kKinds[] = {
    {"hidden_mse", "squared distance of the hidden states behind a layer, over the teacher's square, token by token"},
    {"hidden_cosine", "1 - cosine of the hidden states behind a layer"},
    {"attention_relation",
     "KL of how much each token resembles those before it, among queries, among keys and among values (MiniLM), of the "
     "last pair of layers: no projection, heads and widths may differ"},
};

std::string among(int64_t layers) {
  return "0 to " + std::to_string(layers - 1);
}

}  // namespace

std::span<const FeatureKind> feature_kinds() {
  return kKinds;
}

const FeatureKind* find_feature(const std::string& name) {
  for (const FeatureKind& kind : kKinds)
    if (name == kind.name) return &kind;
  return nullptr;
}

std::optional<LayerPair> parse_layer_pair(const std::string& text) {
  LayerPair pair;
  const char *end = text.data() + text.size(), *colon = text.data() + std::min(text.find(':'), text.size());
  if (colon == end) return std::nullopt;
  const auto first = std::from_chars(text.data(), colon, pair.student);
  const auto second = std::from_chars(colon + 1, end, pair.teacher);
  const bool whole = first.ec == std::errc() && first.ptr == colon && second.ec == std::errc() && second.ptr == end;
  if (!whole || pair.student < 0 || pair.teacher < 0) return std::nullopt;
  return pair;
}

std::vector<LayerPair> feature_layers(const std::vector<std::string>& given, int64_t student_layers,
                                      int64_t teacher_layers) {
  std::vector<LayerPair> pairs;
  for (int64_t layer = 0; given.empty() && layer < student_layers; ++layer)
    pairs.push_back({layer, std::max<int64_t>(1, (layer + 1) * teacher_layers / student_layers) - 1});
  for (const std::string& text : given) {
    const std::optional<LayerPair> pair = parse_layer_pair(text);
    if (!pair)
      throw usage_error("distill.feature_layers", "is not a pair of layers", "STUDENT:TEACHER, such as 3:7",
                        printable(text));
    if (pair->student >= student_layers)
      throw usage_error("distill.feature_layers", "the student has no such layer", among(student_layers),
                        std::to_string(pair->student));
    if (pair->teacher >= teacher_layers)
      throw usage_error("distill.feature_layers", "the teacher has no such layer", among(teacher_layers),
                        std::to_string(pair->teacher));
    pairs.push_back(*pair);
  }
  std::sort(pairs.begin(), pairs.end(), [](const LayerPair& a, const LayerPair& b) { return a.student < b.student; });
  const auto twice = std::adjacent_find(pairs.begin(), pairs.end(),
                                        [](const LayerPair& a, const LayerPair& b) { return a.student == b.student; });
  if (twice != pairs.end())
    throw usage_error("distill.feature_layers", "names a layer of the student twice", "one teacher's layer for each",
                      std::to_string(twice->student));
  return pairs;
}

}  // namespace attar
