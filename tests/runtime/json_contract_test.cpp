// The fields that `verify --json` and `bench --json` print are those that runtime/cli/JSON.md lists, no more and no
// less.
#include <regex>
#include <set>
#include <sstream>

#include "tests/runtime/cli_fixture.h"

namespace attar {
namespace {

using Fields = std::set<std::string>;

// "results.fp32.kl.mean", "rows[].n_gen", "notes[]"
void add_fields(const Json& value, const std::string& path, Fields& fields) {
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) add_fields(child, path.empty() ? key : path + "." + key, fields);
  } else if (value.is_array()) {
    if (value.empty()) fields.insert(path + "[]");
    for (const Json& child : value) add_fields(child, path + "[]", fields);
  } else {
    fields.insert(path);
  }
}

Fields printed_fields(const Json& document) {
  Fields fields, named;
  add_fields(document, "", fields);
  for (const std::string& field : fields)
    named.insert(std::regex_replace(std::regex_replace(field, std::regex("\\.(fp32|deployed)\\."), ".MODE."),
                                    std::regex("\\.(teacher|student)\\.(?=[a-z_]+$)"), ".SIDE."));
  return named;
}

// The first cells of the table under "## heading".
Fields listed_fields(const std::string& heading) {
  std::istringstream page(read_file(ATTAR_SOURCE_DIR "/runtime/cli/JSON.md"));
  Fields fields;
  bool here = false;
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("## ", 0) == 0) here = line == "## " + heading;
    if (here && line.rfind("| `", 0) == 0) fields.insert(line.substr(3, line.find('`', 3) - 3));
  }
  return fields;
}

// But for tasks, which attar alone has.
TEST_F(Cli, ThePageListsWhatVerifyPrints) {
  const Json document =
      json("verify teacher.gguf student.gguf --data text.txt --against teacher.gguf --gate kl=100 --threads 2 --json");
  std::set<std::string> listed = listed_fields("verify");
  EXPECT_GT(std::erase_if(listed, [](const std::string& field) { return field.starts_with("results.tasks"); }), 0u);
  EXPECT_EQ(printed_fields(document), listed);
}

TEST_F(Cli, ThePageListsWhatBenchPrints) {
  const Fields listed = listed_fields("bench");
  EXPECT_EQ(printed_fields(json("bench teacher.gguf -p 8 -n 2 -r 2 -t 2 --profile --json")), listed);
  Fields plain = listed;
  EXPECT_GT(std::erase_if(plain, [](const std::string& field) { return field.starts_with("rows[].profile."); }), 10u);
  EXPECT_EQ(printed_fields(json("bench teacher.gguf -p 8 -n 2 -r 2 -t 2 --json")), plain);
}

}  // namespace
}  // namespace attar
