// What a student may share with its teacher inside, beside what it predicts: the kinds of features, and the layers that
// are compared. A kind is a row of feature_kinds(): recipe keys, flags and errors follow from it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace attar {

struct FeatureKind {
  const char* name;  // recipe key of `features`
  const char* help;
};
std::span<const FeatureKind> feature_kinds();
const FeatureKind* find_feature(const std::string& name);  // nullptr: unknown

// A layer of the student and the one of the teacher that it is compared with, both from 0.
struct LayerPair {
  int64_t student = 0, teacher = 0;
  bool operator==(const LayerPair&) const = default;
};

// "3:7" -> {3, 7}; nullopt: it does not read so.
std::optional<LayerPair> parse_layer_pair(const std::string& text);

// What `feature_layers` says, in order of the student's layers; where it is empty every layer of the student, with
// those of the teacher at equal steps (TinyBERT, Jiao et al. 2020, arXiv 1909.10351, section 3.1). Error{Usage}: a pair
// that does not read so, a layer that is not there, one of the student's twice.
std::vector<LayerPair> feature_layers(const std::vector<std::string>& given, int64_t student_layers,
                                      int64_t teacher_layers);

}  // namespace attar
