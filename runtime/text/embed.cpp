#include "runtime/text/embed.h"

#include <cmath>
#include <list>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/model/workspace.h"

namespace attar::runtime {
namespace {

// A text that is being read.
struct Reading {
  Reading(const Model& model, size_t which)
      : text(which), cache(model), sum(static_cast<size_t>(model.config().width)) {}

  size_t text;  // which one
  KvCache cache;
  std::vector<double> sum;  // (C) of the states so far
  int64_t n_states = 0;

  void add(std::span<const float> state) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(state[i]);
    ++n_states;
  }
  void write(Length length, std::span<float> vector, const Model& model) const {
    double squares = 0.0;
    for (const double value : sum) squares += value * value;
    if (!std::isfinite(squares)) throw input_error(model.source(), "the model's hidden states are not finite");
    const double scale = length == Length::One && squares > 0.0 ? std::sqrt(squares) : static_cast<double>(n_states);
    for (size_t i = 0; i < vector.size(); ++i) vector[i] = static_cast<float>(sum[i] / scale);
  }
};

}  // namespace

Pooling pooling_of(const std::string& name) {
  if (name == "mean") return Pooling::Mean;
  if (name == "last") return Pooling::Last;
  throw usage_error("pooling", "is unknown", "mean or last", printable(name));
}

std::vector<float> embed(const Model& model, std::span<const std::vector<int32_t>> texts, const EmbedOptions& options,
                         Workspace& work, const Progress& progress) {
  const FloatEnvironment floats;
  const auto width = static_cast<size_t>(model.config().width);
  Event now{.stage = "embed", .unit = "tokens"};
  for (const std::vector<int32_t>& text : texts) {
    if (text.empty()) throw usage_error("a text", "has no token", "at least one");
    now.total += static_cast<int64_t>(text.size());
  }
  std::vector<float> vectors(texts.size() * width);
  std::list<Reading> readings;  // of which rows stand in the pass
  std::vector<Row> rows;
  std::vector<Reading*> asked;  // whose state each row that asks gives
  const auto read = [&] {
    forward(model, rows, work, {}, Answers::Hidden);
    for (size_t i = 0; i < asked.size(); ++i) asked[i]->add(work.hidden(static_cast<int64_t>(i)));
    now.done += static_cast<int64_t>(rows.size());
    rows.clear();
    asked.clear();
    readings.remove_if([&](const Reading& reading) {
      if (reading.cache.length_tokens() < static_cast<int64_t>(texts[reading.text].size())) return false;
      reading.write(options.length, std::span(vectors).subspan(reading.text * width, width), model);
      return true;
    });
    report(progress, now);
  };
  for (size_t i = 0; i < texts.size(); ++i) {
    Reading* reading = &readings.emplace_back(model, i);
    for (size_t t = 0; t < texts[i].size(); ++t) {
      const bool wanted = options.pooling == Pooling::Mean || t + 1 == texts[i].size();
      rows.push_back({&reading->cache, texts[i][t], wanted});
      if (wanted) asked.push_back(reading);
      if (rows.size() == static_cast<size_t>(kMaxPassRows)) read();
    }
  }
  if (!rows.empty()) read();
  return vectors;
}

}  // namespace attar::runtime
