// attar recipes new: a commented recipe out of a teacher, a user's texts and a size.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/progress.h"

namespace attar {

struct NewRecipe {
  std::string out;   // the file to write; "": NAME.yaml
  std::string name;  // "": of the file
  std::string teacher;
  std::string size;                       // of the file to ship, such as 60MB; or
  std::string to;                         // its type
  std::vector<std::string> data{};        // text_paths.h
  std::vector<std::string> evaluation{};  // the same, to judge on; empty: every tenth file of data
  bool distill = false;                   // the quantized model learns from its teacher
};
template <class Visitor>
void visit_fields(NewRecipe& o, Visitor&& field) {
  field(o.name, "name", "what the run is called; of the file without it");
  field(o.teacher, "teacher", "MODEL to make small: a GGUF file, a Hugging Face directory, pip:PACKAGE or hf:ORG/NAME");
  field(o.size, "size", "largest size of the file to ship, such as 60MB");
  field(o.to, "to", "its type in place of a size, such as Q4_K_M");
  field(o.data, "data", "your texts: .txt or .jsonl files, also .gz, folders of them, or patterns");
  field(o.evaluation, "evaluation", "texts to judge on, apart from the data; without it every tenth file of the data");
  field(o.distill, "distill", "let the quantized model learn from its teacher on your texts: better, and slow");
}

// Writes the recipe and checks it as a dry run does; -> the path of the file. Error{Usage}: what is missing, a file
// that is there already, or what is wrong with the recipe (which is then not left behind).
std::string write_new_recipe(const NewRecipe& options, const Progress& progress = {});

}  // namespace attar
