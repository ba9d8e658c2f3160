// A quantization that is broken off goes on where it was, to the bytes of an unbroken one; what was measured before is
// not measured again; and nothing on disk is believed unchecked.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "quantize/kept/kept_codes.h"
#include "quantize/quantize.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "tests/base/failing_writes.h"
#include "tests/compress/uneven_model.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

CausalLM model_of(bool tied) {
  ModelConfig config = uneven_config(Family::Llama, tied);
  config.width = 64;
  config.layers.assign(3, {LayerKind::FullAttention, 4, 2, 16, 256});
  return CausalLM::random(config, 3);
}

// Of every kind of run that keeps something.
QuantizeOptions options_of(const std::string& kind) {
  QuantizeOptions options;
  if (kind == "type" || kind == "blocks")
    options.to = "Q4_0";
  else if (kind == "lattice")  // of the rows that it divides, down's
    options.to = "IQ3_S";
  else
    options.target_bpw = 5.0;
  options.preset = kind == "fast" ? "fast" : "best";
  options.block_steps = kind == "blocks" ? 1 : 0;
  return options;
}

// In place of a trainer: turns a code in each block of Q4_0, and which one depends on what a trainer would be given.
std::optional<BlockLoss> turn_codes(const BlockLesson& lesson, QuantizedModel& codes) {
  const auto energy = [](const at::Tensor& stream) { return stream.square().sum(at::kDouble).item<double>(); };
  const auto place = static_cast<size_t>(std::fmod(energy(lesson.walked.before.back()), 16.0));
  std::vector<std::byte>& bytes = codes.tensors.at("blk.0.ffn_up.weight").bytes;
  for (size_t block = 0; block < bytes.size(); block += 18) bytes.at(block + 2 + place) ^= std::byte{1};
  lesson.between();
  return BlockLoss{energy(lesson.walked.whole.front()), energy(lesson.original.block_parameter(0, Role::Down))};
}

TokenDataset text() {
  return uneven_text(6, 30);
}

// What reports came, and a stop at one of them.
struct Watch {
  std::string stop_stage{};
  int64_t stop_done = 0;
  std::set<std::string> stages{};
  std::string details{}, messages{};
  Progress progress() {
    return [this](const Event& event) {
      stages.insert(std::string(event.stage));
      if (!event.detail.empty()) details += std::string(event.detail) + "\n";
      if (!event.message.empty()) messages += std::string(event.message) + "\n";
      return event.detail.empty() && event.stage == stop_stage && event.done == stop_done ? Flow::Stop : Flow::GoOn;
    };
  }
};

QuantizedModel run(const CausalLM& model, const QuantizeOptions& options, int threads, const KeptWork& kept = {},
                   Watch* watch = nullptr, const TokenDataset& calibration = text()) {
  Watch own;
  return quantize(model, options, {}, calibration, threads, (watch != nullptr ? *watch : own).progress(), kept,
                  options.block_steps > 0 ? BlockLearner(turn_codes) : BlockLearner());
}

void expect_same(const QuantizedModel& got, const QuantizedModel& expected, const std::string& where) {
  ASSERT_EQ(got.tensors.size(), expected.tensors.size()) << where;
  for (const auto& [name, tensor] : expected.tensors) {
    const QuantizedTensor& other = got.tensors.at(name);
    EXPECT_EQ(other.type, tensor.type) << where << " " << name;
    EXPECT_EQ(other.shape, tensor.shape) << where << " " << name;
    EXPECT_EQ(other.bytes, tensor.bytes) << where << " " << name;
    EXPECT_EQ(other.relative_error, tensor.relative_error) << where << " " << name;
    EXPECT_EQ(other.rounding_error, tensor.rounding_error) << where << " " << name;
  }
  EXPECT_EQ(got.blocks, expected.blocks) << where;
  EXPECT_EQ(got.notes, expected.notes) << where;
  EXPECT_EQ(got.calibration_tokens, expected.calibration_tokens) << where;
  EXPECT_EQ(got.plan.predicted_kl, expected.plan.predicted_kl) << where;
}

std::string error_of(const std::function<void()>& work, ErrorKind kind) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "no error";
}
#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> files;
  if (fs::is_directory(folder))
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

void change_byte(const std::string& path, size_t from_end) {
  std::string bytes = read_file(path);
  bytes[bytes.size() - from_end] = static_cast<char>(bytes[bytes.size() - from_end] ^ 1);
  std::ofstream(path, std::ios::binary) << bytes;
}

TEST(KeptWork, ARunThatIsBrokenOffAnywhereGoesOnWithTheSameBytes) {
  for (const bool tied : {true, false})
    for (const std::string kind : {"sized", "type", "lattice", "blocks"}) {
      const CausalLM model = model_of(tied);
      const QuantizedModel straight = run(model, options_of(kind), 2);
      EXPECT_EQ(straight.blocks.size(), kind == "blocks" ? 3u : 0u);
      std::vector<std::pair<std::string, int64_t>> stops = {{"quantize", 1}, {"quantize", 2}, {"quantize", 3}};
      if (kind == "sized") stops.insert(stops.end(), {{"sensitivity", 4}, {"inputs", 2}, {"probes", 2}, {"probes", 4}});
      if (!tied) stops.emplace_back("quantize", 4);  // the head
      for (const auto& [stage, done] : stops) {
        const TestFolder folder("kept");
        const KeptWork kept{.steps = folder / "steps"};
        const std::string where = kind + (tied ? ", tied, " : ", ") + stage + " " + std::to_string(done);
        Watch broken{.stop_stage = stage, .stop_done = done};
        error_of([&] { run(model, options_of(kind), 1, kept, &broken); }, ErrorKind::Interrupted);
        Watch watch;
        const QuantizedModel resumed = run(model, options_of(kind), 2, kept, &watch);
        expect_same(resumed, straight, where);
        EXPECT_EQ(resumed.taken.layers, stage == "quantize" ? std::min<int64_t>(done, 3) : 0) << where;
        EXPECT_EQ(resumed.taken.sensitivity, kind == "sized" && stage == "quantize") << where;
        EXPECT_EQ(watch.stages.contains("probes"), kind == "sized" && stage != "quantize") << where;
        const QuantizedModel again = run(model, options_of(kind), 1, kept);  // nothing is left to do
        expect_same(again, straight, where + ", again");
        EXPECT_EQ(again.taken.layers, 3) << where;
      }
    }
}

TEST(KeptWork, FoldersChangeNoByte) {
  for (const std::string kind : {"sized", "type", "fast"}) {
    const TestFolder folder("kept");
    const CausalLM model = model_of(true);
    const QuantizedModel straight = run(model, options_of(kind), 1);
    expect_same(run(model, options_of(kind), 2, {.steps = folder / "steps", .cache = folder / "cache"}), straight,
                kind);
    EXPECT_EQ(files_in(folder / "cache").size(), kind == "type" ? 0u : 1u) << kind;
    // three layers, and the embedding before or as the head after them
    EXPECT_EQ(files_in(folder / "steps").size(), kind == "fast" ? 0u : 4u) << kind;
  }
}

TEST(KeptWork, WhatBlocksLearnIsAnOptionThatCodesDependOn) {
  const TestFolder folder("kept");
  const KeptWork kept{.steps = folder / "steps"};
  const CausalLM model = model_of(true);
  const QuantizedModel learned = run(model, options_of("blocks"), 1, kept), plain = run(model, options_of("type"), 1);
  EXPECT_NE(learned.tensors.at("blk.0.ffn_up.weight").bytes, plain.tensors.at("blk.0.ffn_up.weight").bytes);
  EXPECT_EQ(learned.tensors.at("blk.0.ffn_down.weight").bytes, plain.tensors.at("blk.0.ffn_down.weight").bytes);
  EXPECT_NE(learned.tensors.at("blk.1.ffn_down.weight").bytes, plain.tensors.at("blk.1.ffn_down.weight").bytes);
  EXPECT_SAYS(error_of([&] { run(model, options_of("type"), 1, kept); }, ErrorKind::Usage), "block_steps (1, not 0)");
  QuantizeOptions untold = options_of("blocks");
  untold.preset = "fast";
  EXPECT_THROW(plan_quantization(model.config, untold, {}), Error);
}

// What is told of a layer may end the run, and the layer is kept by then.
TEST(KeptWork, ALayerIsKeptBeforeWhatItLearnedIsTold) {
  const TestFolder folder("kept");
  const KeptWork kept{.steps = folder / "steps"};
  const CausalLM model = model_of(true);
  const auto run_until = [&](const Progress& progress) {
    return quantize(model, options_of("blocks"), {}, text(), 1, progress, kept, turn_codes);
  };
  const Progress stop = [](const Event& event) {
    return event.detail.starts_with("layer 1 learned") ? Flow::Stop : Flow::GoOn;
  };
  error_of([&] { run_until(stop); }, ErrorKind::Interrupted);
  EXPECT_EQ(run_until({}).taken.layers, 2);
}

TEST(KeptWork, AnotherBudgetTakesWhatWasMeasured) {
  const TestFolder folder("kept");
  const KeptWork kept{.cache = folder / "cache"};
  const CausalLM model = model_of(true);
  QuantizeOptions smaller = options_of("sized");
  smaller.target_bpw = 4.2;
  const QuantizedModel straight = run(model, smaller, 2);
  EXPECT_FALSE(run(model, options_of("sized"), 1, kept).taken.sensitivity);
  Watch watch;
  const QuantizedModel second = run(model, smaller, 1, kept, &watch);
  expect_same(second, straight, "second budget");
  EXPECT_TRUE(second.taken.sensitivity);
  EXPECT_EQ(watch.stages, (std::set<std::string>{"sensitivity", "quantize"}));
  EXPECT_SAYS(watch.details, "taken from the cache: " + folder.path());
  EXPECT_EQ(files_in(folder / "cache").size(), 1u);
  QuantizeOptions learned = smaller;  // which rounds as best does
  learned.preset = "learned";
  EXPECT_TRUE(run(model, learned, 1, kept).taken.sensitivity);
}

TEST(KeptWork, OtherModelsTextsAndPresetsAreMeasuredThemselves) {
  const TestFolder folder("kept");
  const KeptWork kept{.cache = folder / "cache"};
  const CausalLM model = model_of(true);
  run(model, options_of("sized"), 1, kept);
  CausalLM other = model.clone();
  other.parameters.at("blk.1.ffn_up.weight").mutable_data_ptr<float>()[5] += 0.01f;
  expect_same(run(other, options_of("sized"), 1, kept), run(other, options_of("sized"), 1), "model");
  QuantizeOptions shorter = options_of("sized");
  shorter.calibration_tokens = 100;
  expect_same(run(model, shorter, 1, kept), run(model, shorter, 1), "tokens");
  TokenDataset words = text();
  words.documents[2].tokens[3] += 1;
  expect_same(run(model, options_of("sized"), 1, kept, nullptr, words),
              run(model, options_of("sized"), 1, {}, nullptr, words), "text");
  expect_same(run(model, options_of("fast"), 1, kept), run(model, options_of("fast"), 1), "preset");
  EXPECT_EQ(files_in(folder / "cache").size(), 5u);
}

TEST(KeptWork, ACacheThatCannotBeUsedIsMeasuredAgainWithANote) {
  const TestFolder folder("kept");
  const KeptWork kept{.cache = folder / "cache"};
  const CausalLM model = model_of(true);
  const QuantizedModel straight = run(model, options_of("sized"), 1, kept);
  const std::string path = files_in(folder / "cache").at(0), whole = read_file(path);
  QuantizeOptions shorter = options_of("sized");
  shorter.calibration_tokens = 100;
  run(model, shorter, 1, kept);
  std::string foreign;
  for (const std::string& file : files_in(folder / "cache"))
    if (file != path) foreign = read_file(file);
  std::string newer = whole;
  newer[newer.find("\"version\":\"") + 11] = '7';
  std::string flipped = whole;
  flipped[flipped.size() - 9] ^= 4;
  for (const auto& [bytes, word] :
       std::vector<std::pair<std::string, std::string>>{{flipped, "checksum"},
                                                        {whole.substr(0, whole.size() - 5), "cache"},
                                                        {"", "cache"},
                                                        {newer, "version"},
                                                        {foreign, "another run: text"}}) {
    std::ofstream(path, std::ios::binary) << bytes;
    Watch watch;
    QuantizedModel again = run(model, options_of("sized"), 2, kept, &watch);
    EXPECT_FALSE(again.taken.sensitivity) << word;
    EXPECT_SAYS(watch.messages, "measured again");
    EXPECT_SAYS(watch.messages, word);
    ASSERT_FALSE(again.notes.empty());
    std::erase_if(again.notes,
                  [](const std::string& note) { return note.find("measured again") != std::string::npos; });
    expect_same(again, straight, word);
    EXPECT_EQ(read_file(path), whole) << word;
  }
}

TEST(KeptWork, CodesOfAnotherRunAreRefusedWithWhatDiffersBeforeAnythingIsMeasured) {
  const TestFolder folder("kept");
  const KeptWork kept{.steps = folder / "steps"};
  const CausalLM model = model_of(true);
  Watch broken{.stop_stage = "quantize", .stop_done = 2}, watch;
  error_of([&] { run(model, options_of("sized"), 1, kept, &broken); }, ErrorKind::Interrupted);
  EXPECT_TRUE(has_kept_parts(kept.steps, kCodesKind));
  QuantizeOptions other = options_of("sized");
  other.target_bpw = 4.5, other.calibration_tokens = 128;
  const std::string said = error_of([&] { run(model, other, 1, kept, &watch); }, ErrorKind::Usage);
  EXPECT_SAYS(said, "target_bpw (5.0, not 4.5)");
  EXPECT_SAYS(said, "calibration_tokens (8192, not 128)");
  EXPECT_SAYS(said, "text");
  CausalLM changed = model.clone();
  changed.parameters.at("blk.1.ffn_up.weight").mutable_data_ptr<float>()[5] += 0.01f;
  EXPECT_SAYS(error_of([&] { run(changed, options_of("sized"), 1, kept, &watch); }, ErrorKind::Usage),
              "another run: model;");
  EXPECT_TRUE(watch.stages.empty());
  PlanTarget larger{.fixed_bytes = 9000};  // another plan under the same options
  EXPECT_SAYS(error_of([&] { quantize(model, options_of("sized"), larger, text(), 1, {}, kept); }, ErrorKind::Usage),
              "other types of tensors");
}

TEST(KeptWork, DamagedCodesAreNamedAndMadeAgainOnceTheyAreGone) {
  const TestFolder folder("kept");
  const KeptWork kept{.steps = folder / "steps"};
  const CausalLM model = model_of(false);
  const QuantizedModel straight = run(model, options_of("sized"), 1, kept);
  for (const std::string& file : files_in(kept.steps)) {
    if (file.find("codes-") == std::string::npos) continue;
    const std::string whole = read_file(file);
    change_byte(file, 7);
    EXPECT_SAYS(error_of([&] { run(model, options_of("sized"), 1, kept); }, ErrorKind::Input), file + ": is damaged");
    fs::remove(file);
    expect_same(run(model, options_of("sized"), 2, kept), straight, file);
    EXPECT_EQ(read_file(file), whole);
  }
  EXPECT_EQ(files_in(kept.steps).size(), 6u);  // sensitivities, the embedding, three layers, the head
}

TEST(KeptWork, AFullDiskLeavesWhatARunGoesOnFrom) {
  const CausalLM model = model_of(true);
  const QuantizedModel straight = run(model, options_of("sized"), 1);
  int failures = 0;
  for (int64_t n = 1;; ++n) {
    const TestFolder folder("kept");
    const KeptWork kept{.steps = folder / "steps"};
    fail_nth_write(n);
    const std::string said = error_of([&] { run(model, options_of("sized"), 1, kept); }, ErrorKind::Resources);
    fail_nth_write(0);
    if (said == "no error") break;
    ++failures;
    for (const std::string& file : files_in(kept.steps)) EXPECT_EQ(file.find(".tmp-"), std::string::npos) << file;
    expect_same(run(model, options_of("sized"), 1, kept), straight, "write " + std::to_string(n));
  }
  EXPECT_GE(failures, 5 * 4);  // files; create, write, fsync, rename
}

}  // namespace
}  // namespace attar
