// Trainings of several ranks, on threads of this process that share nothing but their sockets.
#include "distill/ranks/ranks.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <thread>

#include "distill/ranks/message.h"
#include "distill/ranks/shared_training.h"
#include "runtime/base/error.h"
#include "tests/compress/stored_data.h"
#include "tests/distill/ranks/rank_threads.h"
#include "tests/distill/step/long_batches.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

// Each token with a hidden state of the teacher's width.
TokenDataset with_states() {
  TokenDataset data = countable(40);
  data.hidden_width = tiny_config(Family::Llama).width;
  std::vector<float> state(static_cast<size_t>(data.hidden_width));
  for (TokenDocument& document : data.documents)
    for (const int32_t token : document.tokens) {
      for (size_t i = 0; i < state.size(); ++i) state[i] = std::sin(static_cast<float>(token) + static_cast<float>(i));
      append_state(state, document.hidden);
    }
  return data;
}

std::vector<Rollout> write_by_rule(const CausalLM&, const RolloutRequest& request, const Progress&) {
  std::vector<Rollout> written;
  for (const std::vector<int32_t>& prompt : request.prompts)
    written.push_back({{(prompt.back() + 3) % 300, (prompt.back() + 6) % 300, 7}, true});
  return written;
}

struct Case {
  std::string name;
  DistillOptions options;
  bool taught = true;  // beside a teacher
  TokenDataset data = countable(40);
  int64_t width = 24;  // of the student
  std::vector<std::string> measured{};
};

std::vector<Case> cases() {
  DistillOptions plain = quick(1200), beside = plain, other;
  beside.losses = {{"forward_kl", 1.0}, {"cross_entropy", 0.3}}, beside.temperature = 2.0;
  std::vector<Case> out{{"plain", plain, false}, {"beside", beside}};
  const auto add = [&](const std::string& name, const auto& change) {
    other = beside;
    change(other);
    out.push_back({name, other});
  };
  add("features", [](DistillOptions& o) { o.features = {{"hidden_mse", 0.5}, {"attention_relation", 0.3}}; });
  out.back().width = 16;
  add("part of the positions", [](DistillOptions& o) { o.position_share = 0.5; });
  add("adapters", [](DistillOptions& o) { o.lora_rank = 3; });
  add("frozen", [](DistillOptions& o) { o.frozen = {"embedding", "down"}; });
  add("muon", [](DistillOptions& o) { o.optimizer = "muon"; });
  add("taid", [](DistillOptions& o) { o.losses = {{"taid", 1.0}}; });
  add("measured beside", [](DistillOptions& o) { o.losses = {{"jsd", 1.0}}; });
  out.back().measured = {"forward_kl"};
  add("bf16", [](DistillOptions& o) { o.precision = "bf16"; });
  add("average of what is held out", [](DistillOptions& o) {
    o.ema = 0.9, o.held_out_tokens = 60, o.held_out_every_steps = 2, o.spike_factor = 3.0, o.patience = 5;
  });
  add("its own text", [](DistillOptions& o) {
    o.losses = {{"reverse_kl", 1.0}}, o.on_policy = 0.5, o.replay = 0.3;
    o.rollouts = 6, o.rollout_tokens = 9, o.rollout_prompt_tokens = 4;
  });
  DistillOptions kept = plain;
  kept.losses = {{"forward_kl", 1.0}}, kept.signal = "cached";
  out.push_back({"kept signal", kept, false, with_signal(countable(40), 5)});
  add("less kept", [](DistillOptions& o) { o.gradient_checkpointing = true; });
  add("from easy to hard", [](DistillOptions& o) { o.curriculum = 0.5; });
  out.push_back({"weights", beside, true, with_token_weights(countable(40))});
  DistillOptions hidden = beside;
  hidden.signal = "hidden";
  out.push_back({"hidden states", hidden, false, with_states()});
  kept.unsignalled = "online";
  out.push_back({"kept signal beside the teacher", kept, true, with_signal(countable(40), 5)});
  return out;
}

class RanksTest : public testing::Test {
 protected:
  struct Trained {
    CausalLM model;
    TrainResult result;
  };
  TrainInputs inputs_of(const Case& given) const {
    return {.teacher = given.taught ? &teacher_ : nullptr,
            .teacher_head = given.data.hidden_width > 0 ? teacher_.head() : at::Tensor(),
            .data = &given.data,
            .write_rollouts = write_by_rule,
            .seed = 3,
            .threads = 1,
            .measured = given.measured};
  }
  Trained trained(int size, const Case& given, const TrainInputs& inputs) const {
    ModelConfig config = tiny_config(Family::Llama);
    config.width = given.width;
    Trained out{CausalLM::random(config, 1), {}};
    TrainInputs shared = inputs;
    const auto work = [&] { out.result = train(out.model, byte_tokenizer(), shared, given.options); };
    if (size == 1) {
      work();
      return out;
    }
    const std::vector<std::string> said = in_ranks(size, [&](Ranks& ranks) {
      shared.ranks = &ranks;
      work();
    });
    for (const std::string& error : said) EXPECT_EQ(error, "") << given.name;
    return out;
  }
  Trained trained(int size, const Case& given) const { return trained(size, given, inputs_of(given)); }

  std::vector<std::string> broken(const std::function<bool(int rank, int steps)>& asked);

  // As far as f32 sums of another order go: 3e-7 of a gradient, which the optimizer's steps carry on.
  static void expect_same_curve(const TrainResult& a, const TrainResult& b, double tolerance, const std::string& name) {
    ASSERT_EQ(a.history.size(), b.history.size()) << name;
    double worst = 0.0;
    for (size_t i = 0; i < a.history.size(); ++i) {
      const TrainStep &x = a.history[i], &y = b.history[i];
      const double size = std::max(1.0, std::abs(x.loss));  // a small divergence is a difference of numbers near 6
      worst = std::max(worst, std::abs(x.loss - y.loss) / size);
      EXPECT_NEAR(x.loss, y.loss, tolerance * size) << name << ", step " << i;
      EXPECT_NEAR(x.gradient_norm, y.gradient_norm, 30 * tolerance * x.gradient_norm) << name << ", step " << i;
      EXPECT_EQ(x.tokens, y.tokens) << name;
      EXPECT_EQ(x.skipped, y.skipped) << name;
      EXPECT_EQ(x.on_policy, y.on_policy) << name;
      ASSERT_EQ(x.parts.size(), y.parts.size()) << name;
      for (const auto& [part, value] : x.parts)
        EXPECT_NEAR(value, y.parts.at(part), 10 * tolerance * std::max(1.0, std::abs(value))) << name << ", " << part;
      ASSERT_EQ(x.held_out.has_value(), y.held_out.has_value());
      if (x.held_out) {
        EXPECT_NEAR(*x.held_out, *y.held_out, 10 * tolerance * *x.held_out) << name;
      }
      ASSERT_EQ(x.agreement.has_value(), y.agreement.has_value());
      if (x.agreement) {  // a tie may fall otherwise
        EXPECT_NEAR(*x.agreement, *y.agreement, 0.05) << name;
      }
    }
    if (std::getenv("ATTAR_SHOW") != nullptr) std::printf("%s: %.3g\n", name.c_str(), worst);
  }

  const CausalLM teacher_ = CausalLM::random(tiny_config(Family::Llama), 9);
  const TestFolder own_{"ranks"};
  const std::string folder_ = own_ / "checkpoints";
};

constexpr double kRounding = 1e-6;

TEST_F(RanksTest, LearnAsOneProcessDoes) {
  for (const Case& given : cases()) {
    const double tolerance =
        given.options.precision == "bf16" ? 1e-2 : kRounding;  // 8 bits of a product; 4e-4 was seen
    const Trained alone = trained(1, given);
    for (const int size : {2, 3})
      expect_same_curve(alone.result, trained(size, given).result, tolerance,
                        given.name + " in " + std::to_string(size));
  }
}

// Which rank 0 alone reads.
TEST_F(RanksTest, LearnTheSameBytesFromASignalOnDisk) {
  int kept = 0;
  for (const Case& given : cases()) {
    if (!given.data.has_signal()) continue;
    Case stored = given;
    stored.data = on_disk(given.data, own_ / given.name, 300);
    EXPECT_FALSE(stored.data.documents[0].stored.empty()) << given.name;
    for (const int size : {1, 2, 3})
      EXPECT_TRUE(same(trained(size, stored).model, trained(size, given).model)) << given.name << " in " << size;
    ++kept;
  }
  EXPECT_EQ(kept, 3);
}

TEST_F(RanksTest, GiveTheSameBytesEachTime) {
  for (const Case& given : cases()) EXPECT_TRUE(same(trained(2, given).model, trained(2, given).model)) << given.name;
}

// A part of the positions is chosen within a slice, so slices stay whole, and one slice is the work of one rank.
TEST_F(RanksTest, OneSliceGivesTheBytesOfOneProcess) {
  for (const Case& given : cases())
    if (given.options.position_share < 1.0) {
      EXPECT_TRUE(same(trained(1, given).model, trained(2, given).model));
    }
}

TEST_F(RanksTest, MoreRanksThanDocumentsLearnToo) {
  Case given = cases()[1];
  given.options.batch_tokens = 20;
  expect_same_curve(trained(1, given).result, trained(5, given).result, kRounding, "few documents");
}

// One training after the other, as a recipe has them.
TEST_F(RanksTest, StayForTheNextTraining) {
  const std::vector<Case> both = cases();
  CausalLM first = CausalLM::random(tiny_config(Family::Llama), 1), second = first.clone();
  const auto said = in_ranks(2, [&](Ranks& ranks) {
    TrainInputs inputs = inputs_of(both[0]);
    inputs.ranks = &ranks;
    train(first, byte_tokenizer(), inputs, both[0].options);
    inputs = inputs_of(both[1]);
    inputs.ranks = &ranks;
    train(second, byte_tokenizer(), inputs, both[1].options);
  });
  EXPECT_EQ(said, std::vector<std::string>(2));
  EXPECT_TRUE(same(first, trained(2, both[0]).model));
  EXPECT_TRUE(same(second, trained(2, both[1]).model));
}

TEST_F(RanksTest, ACheckpointGoesOnInAnyNumberOfThem) {
  const Case given = cases()[1];
  const Trained straight = trained(2, given);
  for (const int size : {2, 1, 3}) {
    std::filesystem::remove_all(folder_);
    TrainInputs inputs = inputs_of(given);
    inputs.checkpoint_directory = folder_;
    int64_t steps = 0;
    const auto stop = [&](const Event&) { return ++steps >= 3 ? Flow::Stop : Flow::GoOn; };
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    const auto said = in_ranks(2, [&](Ranks& ranks) {
      inputs.ranks = &ranks;
      train(model, byte_tokenizer(), inputs, given.options, stop);
    });
    EXPECT_NE(said[0].find("interrupted"), std::string::npos) << said[0];
    inputs.ranks = nullptr, inputs.resume = true;
    const Trained parted = trained(size, given, inputs);
    expect_same_curve(straight.result, parted.result, kRounding, "resumed");
    EXPECT_EQ(parted.result.history.size(), straight.result.history.size());
    if (size == 2) {
      EXPECT_TRUE(same(straight.model, parted.model));
    }
  }
}

// A training in three ranks that counts its steps, with what they said. `asked` is told how many are done.
std::vector<std::string> RanksTest::broken(const std::function<bool(int rank, int steps)>& asked) {
  const Case given = cases()[1];
  TrainInputs inputs = inputs_of(given);
  inputs.checkpoint_directory = folder_;
  std::atomic<int> steps = 0;
  inputs.on_step = [&](const TrainStep&) { ++steps; };
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  const auto said = in_ranks(
      3,
      [&](Ranks& ranks) {
        inputs.ranks = &ranks;
        train(model, byte_tokenizer(), inputs, given.options);
      },
      [&](int rank) { return asked(rank, steps); });
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/step-4"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/step-6"));
  inputs = inputs_of(given);
  inputs.checkpoint_directory = folder_, inputs.resume = true;
  EXPECT_TRUE(same(trained(3, given).model, trained(3, given, inputs).model));
  return said;
}

TEST_F(RanksTest, OneThatIsAskedToStopStopsAll) {
  const auto said = broken([](int rank, int steps) { return rank == 2 && steps == 3; });
  EXPECT_NE(said[0].find("interrupted"), std::string::npos) << said[0];
  EXPECT_NE(said[0].find("--resume"), std::string::npos) << said[0];
}

TEST_F(RanksTest, OneThatEndsEndsAllWithItsCheckpointKept) {
  for (const int dies : {1, 0}) {  // rank 0 in the midst of a step: nobody waits for what does not come
    std::filesystem::remove_all(folder_);
    const auto said = broken([&](int rank, int steps) {
      if (rank == dies && steps == 5) throw std::runtime_error("killed");
      return false;
    });
    for (int rank = 0; rank < 3; ++rank) {
      const std::string& words = said[static_cast<size_t>(rank)];
      EXPECT_EQ(words == "killed", rank == dies) << words;
      if (rank == dies) continue;
      EXPECT_NE(words.find("another rank has ended"), std::string::npos) << words;
      EXPECT_NE(words.find("--resume"), std::string::npos) << words;
    }
  }
}

TEST_F(RanksTest, AddUpInTheirOrder) {
  for (const int size : {2, 3, 4}) {
    const int port = Listener().port();
    constexpr int64_t kMany = (int64_t{1} << 22) + 1001;  // more than a chunk
    const auto part = [&](int rank) {
      Ranks ranks(place_of(rank, size, port), 1);
      std::vector<at::Tensor> tensors{at::full({3}, 1.0 + rank), at::full({kMany}, 0.1 * (1 + rank)),
                                      at::full({}, 1.0 * rank)};
      std::vector<double> numbers{0.1 * (1 + rank), -1.0};
      ranks.sum(tensors);
      ranks.sum(numbers);
      if (rank > 0) return;
      float in_order = 0.1f;
      double exact = 0.1, one = 0.0;
      for (int r = 1; r < size; ++r) in_order += static_cast<float>(0.1 * (1 + r)), exact += 0.1 * (1 + r), one += r;
      EXPECT_EQ(tensors[0].sum().item<double>(), 3.0 * (size + one));
      EXPECT_TRUE((tensors[1] == in_order).all().item<bool>()) << size;
      EXPECT_EQ(tensors[2].item<double>(), one);
      EXPECT_EQ(numbers, (std::vector<double>{exact, -1.0 * size}));
    };
    std::vector<std::thread> all;
    for (int rank = 0; rank < size; ++rank) all.emplace_back(part, rank);
    for (std::thread& one : all) one.join();
  }
}

// By which each takes a GPU of its machine: as they come, or as LOCAL_RANK says.
TEST(RanksJoin, KnowTheirPlaceOnTheMachine) {
  const int port = Listener().port();
  std::vector<int> local(3, -1);
  const auto join = [&](int rank) {
    RankPlace place = place_of(rank, 3, port);
    if (rank == 1) place.local_rank = 7;
    Ranks ranks(place, 1);
    local[static_cast<size_t>(rank)] = ranks.local_rank();
    std::vector<double> heard{1.0};
    ranks.sum(heard);  // so that nobody leaves before all have joined
  };
  std::vector<std::thread> all;
  for (int rank = 0; rank < 3; ++rank) all.emplace_back(join, rank);
  for (std::thread& one : all) one.join();
  EXPECT_EQ(local, (std::vector<int>{0, 7, 2}));
}

TEST(RanksJoin, SaysWhatIsMissing) {
  const auto said = [](const RankPlace& place) -> std::string {
    try {
      Ranks ranks(place, 1);
      return "joined";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources);
      return error.what();
    }
  };
  const Listener taken;
  const std::string busy = said(place_of(0, 2, taken.port()));
  EXPECT_NE(busy.find(":" + std::to_string(taken.port()) + ": rank 0 cannot listen there"), std::string::npos) << busy;
  RankPlace alone = place_of(0, 2, Listener().port());
  alone.join_s = std::chrono::seconds(1);
  EXPECT_NE(said(alone).find("rank 1 of 2: has not come"), std::string::npos);
  alone.rank = 1;
  EXPECT_NE(said(alone).find("rank 0 cannot be reached there"), std::string::npos);
}

TEST(RankMessage, IsReadAsItWasWritten) {
  ModelConfig config = tiny_config(Family::Gemma3), read_config;
  config.rope_scaling = RopeScaling{.type = "llama3", .factor = 3.0};
  config.attention_scale = 0.25, config.tied_embeddings = false, config.kv = KvFormat::Int8;
  DistillOptions options = quick(77), read_options;
  options.losses = {{"uld", 0.5}, {"jsd", 2.0}}, options.frozen = {"embedding", "down"}, options.lora_rank = 3;
  TokenDataset data = with_signal(countable(40), 3), read_data;
  data.documents[1].other = {{1, 2, 3}, {0, 1, 1}, {{2, 1}, {5, 3}}};
  data.documents[2].sampled_signal = {7, 8};
  data.documents[3].weights = {0.5f, 2.0f}, data.documents[4].hidden = {{1, -2}, {0.5f}};
  data.hidden_width = 2;
  data.bos = 5, data.sampled = {.samples = 2, .id_bits = 9};
  Message written;
  written.fields(config, options, data);
  Message message(written.bytes());
  message.fields(read_config, read_options, read_data);
  EXPECT_EQ(config, read_config);
  Message again;
  again.fields(read_config, read_options, read_data);
  EXPECT_EQ(written.bytes(), again.bytes());
  EXPECT_EQ(read_options.losses, options.losses);
  EXPECT_EQ(read_options.frozen, options.frozen);
  EXPECT_EQ(read_data.documents[1].other.chunks, data.documents[1].other.chunks);
  EXPECT_EQ(read_data.documents[2].signal_ids, data.documents[2].signal_ids);
  std::vector<char> half(written.bytes().begin(), written.bytes().begin() + 100);
  Message cut(half);
  EXPECT_THROW(cut.fields(read_config, read_options, read_data), Error);
}

}  // namespace
}  // namespace attar
