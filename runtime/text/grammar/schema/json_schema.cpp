#include "runtime/text/grammar/schema/json_schema.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/formats/container/json_object.h"
#include "runtime/text/grammar/gbnf.h"
#include "runtime/text/grammar/schema/apart.h"
#include "runtime/text/grammar/schema/pattern.h"
#include "runtime/text/grammar/schema/references.h"
#include "runtime/text/grammar/schema/schema_node.h"

namespace attar::runtime {
namespace {

class SchemaReader {
 public:
  SchemaReader(const SchemaJson& root, const std::string& where) : root_(root, "#", where), json_(where) {}

  Rules rules() {
    out_.root = rule_of(root_);
    while (!waiting_.empty()) {  // what a $ref names is read when all around it is
      const auto [rule, node] = waiting_.back();
      waiting_.pop_back();
      out_.rules[rule].body = value(node);
    }
    return std::move(out_);
  }

 private:
  uint32_t rule_of(const SchemaNode& node) {
    const auto [found, is_new] = references_.try_emplace(node.pointer(), 0);
    if (is_new) {
      found->second = out_.add(node.pointer());
      waiting_.emplace_back(found->second, node);
    }
    return found->second;
  }

  Piece value(const SchemaNode& node) {
    if (node.json() == true) return json_.value();
    if (node.json() == false) node.fail("allows nothing");
    node.check_keywords();
    if (node.find("$ref") != nullptr) {
      node.check_alone("$ref");
      return out_.call(rule_of(named_.of(node)));
    }
    if (node.find("const") != nullptr || node.find("enum") != nullptr) return listed(node);
    for (const char* keyword : {"anyOf", "oneOf", "allOf"})
      if (node.find(keyword) != nullptr) return one_of_several(node, keyword);
    return typed(node);
  }

  Piece listed(const SchemaNode& node) {
    const uint32_t types = node.find("type") != nullptr ? node.types() : kEveryType;
    std::vector<Piece> ways;
    const auto add = [&](const SchemaJson& one) {
      if ((type_of(one) & types) != 0) ways.push_back(json_.literal(one));
    };
    if (const SchemaJson* one = node.find("const")) {
      node.check_alone("const", "type");
      add(*one);
    } else {
      node.check_alone("enum", "type");
      const SchemaJson& all = *node.find("enum");
      if (!all.is_array() || all.empty()) node.fail("enum is no list of values", "", "[...] with at least one");
      for (const SchemaJson& each : all) add(each);
    }
    if (ways.empty()) node.fail("allows nothing: no listed value is of its type");
    return out_.choice(std::move(ways));
  }

  Piece one_of_several(const SchemaNode& node, std::string_view keyword) {
    node.check_alone(keyword);
    const SchemaNode list = node.below(std::string(keyword));
    if (!list.json().is_array() || list.json().empty())
      list.fail("is no list of schemas", "", "[...] with at least one");
    if (keyword == "allOf" && list.json().size() > 1)
      list.fail("several schemas at once cannot be honoured", "", "one schema", "", "write them as one");
    std::vector<Piece> ways;
    for (size_t i = 0; i < list.json().size(); ++i) ways.push_back(value(list.below(i)));
    if (keyword == "oneOf") require_apart(named_, list, compared_);
    return out_.choice(std::move(ways));
  }

  Piece typed(const SchemaNode& node) {
    const uint32_t types = node.types();
    std::vector<Piece> ways;
    if ((types & kObject) != 0) ways.push_back(object(node));
    if ((types & kArray) != 0) ways.push_back(array(node));
    if ((types & kString) != 0) ways.push_back(string(node));
    if ((types & kInteger) != 0) ways.push_back(number(node, (types & kNumber) != 0));
    if ((types & kBoolean) != 0) ways.push_back(out_.text("true")), ways.push_back(out_.text("false"));
    if ((types & kNull) != 0) ways.push_back(out_.text("null"));
    return out_.choice(std::move(ways));
  }

  Piece number(const SchemaNode& node, bool with_fraction) {
    const SchemaJson* step = node.find("multipleOf");
    if (step != nullptr && (with_fraction || *step != 1))
      node.fail("the keyword multipleOf cannot be honoured", "", "1 of an integer");
    if (with_fraction && !node.is_bounded()) return json_.number();
    const auto numbers = with_fraction ? SchemaNode::Of::Numbers : SchemaNode::Of::Whole;
    const Bound least = node.least(numbers), most = node.most(numbers);
    std::optional<Piece> found;
    if (with_fraction)
      found = json_.numbers(least, most);
    else if (least.value <= most.value)
      found = json_.whole_numbers(least.value, most.value);
    if (!found) node.fail("allows nothing: its least is above its most");
    return *found;
  }

  Piece string(const SchemaNode& node) {
    for (const char* keyword : {"pattern", "format"}) {
      if (node.find(keyword) == nullptr) continue;
      for (const std::string_view other : {"minLength", "maxLength", "pattern", "format"})
        if (other != keyword && node.find(other.data()) != nullptr)
          node.fail("the keyword ", std::string(other) + " cannot be honoured beside " + keyword, "", "",
                    "put lengths into the pattern: {1,20}");
      const SchemaNode of = node.below(keyword);
      std::string pattern = node.text(keyword);
      if (keyword[0] == 'f') {
        const std::string format = std::exchange(pattern, pattern_of_format(pattern));
        if (pattern.empty()) of.fail("the format cannot be honoured", "", known_formats(), format);
      }
      return strings_matching(json_, pattern, of.place());
    }
    const uint32_t least = node.count("minLength", 0), most = node.count("maxLength", kNoLimit);
    if (most < least) node.fail("allows nothing: minLength is above maxLength");
    return json_.string(least, most);
  }

  Piece comma_and(Piece part) { return out_.sequence({out_.text(","), json_.white(), part}); }
  static uint32_t fewer(uint32_t count, uint32_t by) {
    return count == kNoLimit ? kNoLimit : count > by ? count - by : 0;
  }

  // The items that prefixItems lists, then the others, each as a rule behind a comma that calls the next: what need not
  // be there ends the list.
  Piece array(const SchemaNode& node) {
    const uint32_t least = node.count("minItems", 0), most = node.count("maxItems", kNoLimit);
    if (most < least) node.fail("allows nothing: minItems is above maxItems");
    const SchemaJson* items = node.find("items");
    std::vector<Piece> listed;
    if (node.find("prefixItems") != nullptr) {
      const SchemaNode list = node.below("prefixItems");
      if (!list.json().is_array()) list.fail("is no list of schemas", "", "[...]");
      for (size_t i = 0; i < list.json().size() && i < most; ++i) listed.push_back(value(list.below(i)));
    }
    auto n = static_cast<uint32_t>(listed.size());
    const bool open = items != nullptr ? *items != false : n == 0 || least > n;
    if (!open && least > n) node.fail("allows nothing: minItems asks for more items than there are");
    Piece after = 0;
    if (open && most > n) {
      const Piece item = items != nullptr ? value(node.below("items")) : json_.value();
      const Piece other = out_.call(out_.add(node.pointer() + "/items", item));
      if (n == 0) listed.push_back(other), n = 1;
      after = out_.repeat(comma_and(other), fewer(least, n), fewer(most, n));
    }
    if (n == 0) return out_.text("[]");
    for (uint32_t i = n; i-- > 1;) {
      const Piece tail = out_.call(out_.add(node.pointer(), out_.sequence({comma_and(listed[i]), after})));
      after = i < least ? tail : out_.maybe(tail);
    }
    const Piece all = out_.sequence({json_.white(), listed[0], after, json_.white()});
    return out_.sequence({out_.text("["), least == 0 ? out_.maybe(all) : all, out_.text("]")});
  }

  struct Member {
    std::string name;
    bool is_required;
    Piece piece;  // its key and value
  };

  Piece object(const SchemaNode& node) {
    const SchemaJson* others = node.find("additionalProperties");
    const bool named = node.find("properties") != nullptr || node.find("required") != nullptr;
    if (!named && (others == nullptr || *others == true)) return json_.object();
    const std::vector<Member> members = members_of(node, others);
    if (others == nullptr || *others == false) return members_in_order(node, members, 0, 0);
    std::vector<std::string> names;
    for (const Member& member : members) names.push_back(member.name);
    const Piece key = json_.other_keys(names), of = value(node.below("additionalProperties"));
    const Piece other = out_.call(out_.add(node.pointer(), out_.sequence({key, json_.colon(), of})));
    const Piece more = out_.repeat(comma_and(other), 0, kNoLimit);
    return members_in_order(node, members, out_.maybe(out_.sequence({json_.white(), other, more})), more);
  }

  std::vector<Member> members_of(const SchemaNode& node, const SchemaJson* others) {
    std::vector<Member> members;
    const std::vector<std::string> required = node.names("required");
    std::set<std::string_view> left(required.begin(), required.end());
    const auto add = [&](const std::string& name, bool is_required, Piece of) {
      const Piece member = out_.sequence({out_.text(json_string(name)), json_.colon(), of});
      members.push_back({name, is_required, out_.call(out_.add(node.pointer() + "/properties/" + name, member))});
    };
    if (node.find("properties") != nullptr) {
      const SchemaNode properties = node.below("properties");
      if (!properties.json().is_object()) properties.fail("is no object of schemas", "", "{\"name\": {...}}");
      for (auto entry = properties.json().begin(); entry != properties.json().end(); ++entry) {
        const bool is_required = left.erase(entry.key()) > 0;
        if (!is_required && *entry == false) continue;  // never there
        add(entry.key(), is_required, value(properties.below(entry.key())));
      }
    }
    for (const std::string& name : required) {
      if (!left.contains(name)) continue;  // named among the properties
      if (others != nullptr && *others == false)
        node.fail("allows nothing: ", printable(name) + " is required and no property");
      add(name, true, others != nullptr ? value(node.below("additionalProperties")) : json_.value());
    }
    return members;
  }

  // From the last member to the first, two rules each: `none`, what may come where no member was written yet, and
  // `some`, where one was.
  Piece members_in_order(const SchemaNode& node, const std::vector<Member>& members, Piece none, Piece some) {
    for (size_t i = members.size(); i-- > 0;) {
      const Member& member = members[i];
      std::vector<Piece> first{out_.sequence({json_.white(), member.piece, some})},
          later{out_.sequence({comma_and(member.piece), some})};
      if (!member.is_required) first.push_back(none), later.push_back(some);
      none = out_.call(out_.add(node.pointer(), out_.choice(std::move(first))));
      some = out_.call(out_.add(node.pointer(), out_.choice(std::move(later))));
    }
    return out_.sequence({out_.text("{"), none, json_.white(), out_.text("}")});
  }

  const SchemaNode root_;
  JsonText json_;
  Rules& out_ = json_.rules;
  References named_{root_};
  uint64_t compared_ = 0;                         // steps, of all oneOf
  std::map<std::string, uint32_t> references_{};  // by pointer
  std::vector<std::pair<uint32_t, SchemaNode>> waiting_{};
};

}  // namespace

Rules parse_json_schema(const std::string& text, const std::string& where) {
  constexpr size_t kMost = kMostGrammarBytes / 4;
  if (text.size() > kMost)
    throw usage_error(where, "is too long for a schema", "at most " + std::to_string(kMost) + " bytes",
                      std::to_string(text.size()));
  check_json_depth(text, where);
  try {
    return SchemaReader(SchemaJson::parse(text), where).rules();
  } catch (const SchemaJson::exception& problem) {  // also a number that no double holds
    throw usage_error(where, "is no JSON", "a JSON Schema", "", problem.what());
  }
}

}  // namespace attar::runtime
