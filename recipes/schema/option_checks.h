// What values the options of the stages may have. Recipes, flags and Python arguments all pass through here, so an
// impossible value is refused before anything runs, with the same words everywhere.
#pragma once

#include <string>
#include <vector>

#include "recipes/schema/recipe.h"
#include "runtime/base/error.h"
#include "runtime/base/field_rules.h"
#include "runtime/base/fields.h"

namespace attar {

// What one value may be, as data.
std::vector<FieldRule> rules_of(const PruneOptions& options);
std::vector<FieldRule> rules_of(const DistillOptions& options);
std::vector<FieldRule> rules_of(const DistillStage& options);
std::vector<FieldRule> rules_of(const QuantizeOptions& options);
std::vector<FieldRule> rules_of(const ExportOptions& options);
std::vector<FieldRule> rules_of(const VerifyStage& options);
std::vector<FieldRule> rules_of(const TeacherWrites& options);
std::vector<FieldRule> rules_of(const EndpointWrites& options);
std::vector<FieldRule> rules_of(const Architecture& options);
std::vector<FieldRule> rules_of(const DataOptions& options);

// What breaks a rule, and what several values say together.
std::vector<FieldProblem> problems_of(const PruneOptions& options);
std::vector<FieldProblem> problems_of(const DistillOptions& options);
std::vector<FieldProblem> problems_of(const DistillStage& options);
std::vector<FieldProblem> problems_of(const QuantizeOptions& options);
std::vector<FieldProblem> problems_of(const ExportOptions& options);
std::vector<FieldProblem> problems_of(const VerifyStage& options);
std::vector<FieldProblem> problems_of(const TeacherWrites& options);
std::vector<FieldProblem> problems_of(const EndpointWrites& options);
std::vector<FieldProblem> problems_of(const Architecture& options);
std::vector<FieldProblem> problems_of(const DataOptions& options);

// What is wrong with the length of the sequences of a training for a model of `context` tokens; "": nothing.
std::string sequence_problem(const DistillOptions& options, int64_t context);

// For flags and Python: the first problem as Error{Usage}, `where` in front ("attar prune").
template <class Options>
void require_valid(const Options& options, const std::string& where) {
  const std::vector<FieldProblem> problems = problems_of(options);
  if (!problems.empty())
    throw usage_error(where, problems.front().field + " has an impossible value", problems.front().expected,
                      problems.front().got);
}

}  // namespace attar
