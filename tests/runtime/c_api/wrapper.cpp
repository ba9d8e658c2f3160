// attar_runtime.hpp: wrapper MODEL. Exit code 0, or the line that failed.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "runtime/attar_runtime.hpp"

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      std::fprintf(stderr, "wrapper.cpp:%d: %s\n", __LINE__, #condition); \
      return 1;                                                           \
    }                                                                     \
  } while (0)

template <class Call>
int code_of(Call&& call) {
  try {
    call();
  } catch (const attar::Failure& failure) {
    return failure.code();
  }
  return ATTAR_OK;
}

static int generates(const attar::Model& model) {
  attar::Session session(model);
  attar_generate_options options = attar::generate_options();
  options.max_tokens = 8;
  const auto chat = attar::Prompt::chat({{"user", "the cat"}});
  std::string pieces;
  attar_generated generated{};
  generated.size_bytes = sizeof generated;
  const auto add = [&](const std::string& piece) {
    pieces += piece;
    return true;
  };
  const std::string text = session.generate(chat, options, add, &generated);
  CHECK(!text.empty() && text == pieces && generated.stop_reason == ATTAR_STOP_MAX_TOKENS);
  CHECK(session.fork().generate(chat, options) == text);
  session.save("wrapped");
  attar::Session restored(model);
  restored.restore("wrapped");
  CHECK(attar_session_tokens(restored.handle(), nullptr, 0) == attar_session_tokens(session.handle(), nullptr, 0));
  CHECK(code_of([&] { restored.restore("nowhere"); }) == ATTAR_BAD_FILE);
  CHECK(code_of([&] { session.generate(chat, options, [](const std::string&) { return false; }); }) == ATTAR_CANCELLED);
  try {
    session.generate(chat, options, [](const std::string&) -> bool { throw std::runtime_error("of mine"); });
    CHECK(false);
  } catch (const std::runtime_error& error) {
    CHECK(std::string(error.what()) == "of mine");
  }
  session.cancel();
  CHECK(code_of([&] { session.generate(chat, options); }) == ATTAR_CANCELLED);
  CHECK(session.generate(chat, options) == text);
  return 0;
}

static int writes_many(const attar::Model& model) {
  attar::Session session(model);
  attar_generate_options options = attar::generate_options();
  options.max_tokens = 8;
  const char* const prompts[] = {"the cat", "a bat", "the mat"};
  attar::Engine engine(model);
  std::string texts[3], whole[3];
  for (int i = 0; i < 3; ++i) {
    const auto add = [&texts, i](const std::string& piece) {
      texts[i] += piece;
      return true;
    };
    engine.submit(attar::Prompt::text(prompts[i]), options, add,
                  [&whole, i](const attar_ended& ended) { whole[i] = ended.text; });
  }
  CHECK(engine.load().waiting == 3);
  const int64_t unwanted = engine.submit(attar::Prompt::text("the"), options);
  engine.cancel(unwanted);
  CHECK(code_of([&] { engine.cancel(unwanted); }) == ATTAR_BAD_ARGUMENT);
  engine.run();
  for (int i = 0; i < 3; ++i)
    CHECK(texts[i] == whole[i] && texts[i] == attar::Session(model).generate(attar::Prompt::text(prompts[i]), options));
  engine.submit(attar::Prompt::text("the"), options,
                [](const std::string&) -> bool { throw std::runtime_error("of mine"); });
  try {
    engine.run();
    CHECK(false);
  } catch (const std::runtime_error& error) {
    CHECK(std::string(error.what()) == "of mine");
  }
  CHECK(!engine.step() && engine.load().active == 0);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  CHECK(code_of([] { attar::Model("/nowhere"); }) == ATTAR_BAD_FILE);
  const attar::Model model(argv[1]);
  CHECK(model.info().vocabulary_tokens == 32 && model.notes().empty());
  const auto prompt = attar::Prompt::text("the cat sat");
  const std::vector<int32_t> tokens = model.tokenize(prompt);
  CHECK(model.detokenize(tokens) == "the cat sat");
  CHECK(model.tokenize(attar::Prompt::tokens(tokens)) == tokens);
  CHECK(model.tokenize(attar::Prompt::text("the</s>cat").special()).size() <
        model.tokenize(attar::Prompt::text("the</s>cat")).size());

  std::ifstream file(argv[1], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const attar::Model same = attar::Model::from_memory(bytes.data(), bytes.size());
  CHECK(std::isnan(same.score(prompt)[0]) && same.score(prompt)[1] == model.score(prompt)[1]);
  const auto vectors = model.embed({prompt, attar::Prompt::text("a bat")});
  CHECK(vectors.size() == 2 && vectors[0] == same.embed({prompt})[0] && vectors[0] != vectors[1]);
  CHECK(writes_many(model) == 0);
  return generates(model);
}
