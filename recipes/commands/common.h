// What the commands have in common: their inputs read, their files written, their document.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "export/export.h"
#include "quantize/quantize.h"
#include "recipes/commands/commands.h"
#include "recipes/commands/output.h"
#include "recipes/data/near_duplicates.h"
#include "recipes/run/resumable.h"
#include "runtime/base/error.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"

namespace attar {

int thread_count(const CommandOptions& command);

// All that a command reads. `more`: beside MODEL and data.
std::vector<std::string> inputs_of(const CommandOptions& command, std::vector<std::string> more);

Existing existing(const CommandOptions& command);

// The same command with OUT as checked_out gives it.
CommandOptions checked(const CommandOptions& command, const std::vector<std::string>& more = {});

ExportInfo info_of(const ModelFile& source);

// A command's text in tokens, and how its chats were read.
struct TextData {
  TokenDataset tokens;
  std::string chat_template{};  // source; empty: there were no chats
  std::vector<std::string> notes{};
  NearDuplicates near_duplicates{};
};
TextData text_data(const CommandOptions& command, const TokenizerData& data, const Progress& progress);
// What a document says of them, where somebody looked.
void add_near_duplicates(nlohmann::ordered_json& json, const TextData& text);

nlohmann::ordered_json write_gguf_file(const std::string& out, const QuantizedModel& quantized,
                                       const TokenizerData& tokenizer, const ExportInfo& info,
                                       const Progress& progress);

inline constexpr const char* kResumeHint = "the same command with --resume goes on";
// For --resume where no work lies to go on from.
void note_nothing_to_resume(const std::string& stage, const std::string& steps, const Progress& progress);
// For a run from the start where such work lies, which would be lost.
Error holds_steps(const std::string& steps, const std::string& what);

void add_note(nlohmann::ordered_json& json, const std::string& note);

std::string document(const nlohmann::ordered_json& json);

}  // namespace attar
