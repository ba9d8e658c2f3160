// How much each token resembles those before it, among the queries, the keys and the values of a layer, brought from
// the student's to the teacher's (MiniLMv2, Wang et al. 2021, arXiv 2012.15828, section 3.1, made causal): heads are
// cut anew into equally many relation heads on both sides, so that neither numbers nor widths of heads need be the
// same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "compress/shards.h"
#include "distill/pass/attention_pass.h"
#include "runtime/formats/config.h"

namespace attar {

struct RelationPair {
  HeadTap student, teacher;      // of one layer each
  std::vector<int64_t> lengths;  // of the documents
  at::Tensor counted;            // (N) bool: tokens that are looked at; all are looked back at
  int64_t relation_heads = 1;    // divides the widths of all six
};

struct RelationMatch {
  double sum = 0.0;    // over the tokens, unweighed, of the mean over kinds and relation heads of a KL
  HeadTap by_student;  // f32: gradient of the weighed sum
};

// As many as the key heads of both sides divide into.
int64_t relation_heads(const LayerConfig& student, const LayerConfig& teacher);

// Relations of kRelationRows tokens at a time: none of a document's (T, T) are ever whole. No bit depends on the team.
inline constexpr int64_t kRelationRows = 64;
RelationMatch match_relations(Team& team, const RelationPair& pair, double weight);

}  // namespace attar
