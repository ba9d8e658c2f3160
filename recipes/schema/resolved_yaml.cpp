#include <yaml-cpp/yaml.h>

#include <charconv>

#include "recipes/schema/option_checks.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/fields.h"

namespace attar {
namespace {

void emit(YAML::Emitter& out, const std::string& v) {
  out << v;
}
void emit(YAML::Emitter& out, int64_t v) {
  out << v;
}
void emit(YAML::Emitter& out, bool v) {
  out << v;
}
void emit(YAML::Emitter& out, double v) {
  char text[32];
  out << std::string(text, std::to_chars(text, text + sizeof text, v).ptr);
}
template <class T>
void emit(YAML::Emitter& out, const std::vector<T>& v) {
  out << YAML::Flow << v;
}
template <class T>
void emit(YAML::Emitter& out, const std::map<std::string, T>& v) {
  out << YAML::Flow << YAML::BeginMap;
  for (const auto& [name, entry] : v) {
    out << YAML::Key << name << YAML::Value;
    emit(out, entry);
  }
  out << YAML::EndMap;
}

template <class Options>
void emit_options(YAML::Emitter& out, const Options& options) {
  Options copy = options;
  out << YAML::BeginMap;
  visit_fields(copy, [&](auto& field, const char* name, const char*) {
    if constexpr (is_optional<std::remove_reference_t<decltype(field)>>::value) {
      if (!field) return;
      out << YAML::Key << name << YAML::Value;
      emit(out, *field);
    } else {
      out << YAML::Key << name << YAML::Value;
      emit(out, field);
    }
  });
  out << YAML::EndMap;
}

void emit_model(YAML::Emitter& out, const char* key, const ModelRecipe& model) {
  out << YAML::Key << key << YAML::Value;
  if (!model.model.empty()) {
    out << model.model;
    return;
  }
  out << YAML::BeginMap;
  if (model.architecture) {
    out << YAML::Key << "config" << YAML::Value;
    emit_options(out, *model.architecture);
  }
  if (!model.tokenizer.empty()) out << YAML::Key << "tokenizer" << YAML::Value << model.tokenizer;
  if (model.pretrain) {
    out << YAML::Key << "pretrain" << YAML::Value;
    emit_options(out, *model.pretrain);
  }
  out << YAML::EndMap;
}

void emit_sources(YAML::Emitter& out, const char* key, const std::vector<DataSource>& sources) {
  out << YAML::Key << key << YAML::Value << YAML::BeginSeq;
  for (const DataSource& source : sources) {
    if (source.from_train > 0) {
      out << YAML::Flow << YAML::BeginMap << YAML::Key << "from_train" << YAML::Value << source.from_train
          << YAML::EndMap;
      continue;
    }
    if (!source.is_written() && source.weight == 1.0) {
      out << source.file;
      continue;
    }
    if (!source.is_written()) {
      out << YAML::Flow << YAML::BeginMap << YAML::Key << "file" << YAML::Value << source.file << YAML::Key << "weight"
          << YAML::Value;
      emit(out, source.weight);
      out << YAML::EndMap;
      continue;
    }
    out << YAML::BeginMap << YAML::Key << (source.teacher_writes ? "teacher_writes" : "endpoint_writes") << YAML::Value;
    if (source.teacher_writes)
      emit_options(out, *source.teacher_writes);
    else
      emit_options(out, *source.endpoint_writes);
    out << YAML::EndMap;
  }
  out << YAML::EndSeq;
}

}  // namespace

std::string resolved_yaml(const Recipe& recipe) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  out << YAML::Key << "version" << YAML::Value << recipe.version;
  out << YAML::Key << "name" << YAML::Value << recipe.name;
  if (!recipe.about.empty()) out << YAML::Key << "about" << YAML::Value << recipe.about;
  out << YAML::Key << "seed" << YAML::Value << recipe.seed;
  emit_model(out, "teacher", recipe.teacher);
  if (recipe.student) emit_model(out, "student", *recipe.student);
  out << YAML::Key << "data" << YAML::Value << YAML::BeginMap;
  DataOptions text = recipe.text;
  visit_fields(text, [&](auto& field, const char* name, const char*) {
    out << YAML::Key << name << YAML::Value;
    emit(out, field);
  });
  emit_sources(out, "train", recipe.train);
  emit_sources(out, "calibration", recipe.calibration);
  emit_sources(out, "evaluation", recipe.evaluation);
  out << YAML::EndMap;
  out << YAML::Key << "stages" << YAML::Value << YAML::BeginSeq;
  for (const Stage& stage : recipe.stages) {
    out << YAML::BeginMap << YAML::Key << stage_name(stage) << YAML::Value;
    std::visit([&](const auto& options) { emit_options(out, options); }, stage);
    out << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace attar
