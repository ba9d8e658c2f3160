// What the verbs on files print for people, from the JSON documents that --json prints.
#pragma once

#include <string>
#include <vector>

namespace attar::cli {

enum class Detail { Brief, All };

// Fallbacks ("TENSOR: Q4_K -> Q5_0 (why)") by what they have in common: "12 tensors: Q4_K -> Q5_0 (why)".
std::vector<std::string> grouped_fallbacks(const std::vector<std::string>& lines);

// The fields of any document, a line each; of lists the first few, unless all are asked for.
void print_fields(const std::string& document, Detail detail);
void print_distill(const std::string& document, Detail detail);   // its arms as a table
void print_quantize(const std::string& document, Detail detail);  // All: each tensor too
void print_eval(const std::string& document);

}  // namespace attar::cli
