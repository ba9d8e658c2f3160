// Python keyword arguments to options structs and back, through the one field listing each struct has.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <optional>
#include <string>

#include "runtime/base/error.h"
#include "runtime/base/fields.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/progress.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/base/words/suggestion.h"

namespace attar::python {

namespace py = pybind11;

// What pybind11's casts take: a str or a path as bytes, also inside a list.
py::object plain(const py::handle& given);
// The same where a list is wanted: one str or path is a list of one, None an empty list.
py::object plain_list(const py::handle& given);

// A path as Python has it, whatever its bytes.
py::object path_of(const std::string& path);

// What an argument must be, for messages.
template <class T>
std::string python_type() {
  if constexpr (std::is_same_v<T, bool>) return "True or False";
  if constexpr (is_optional<T>::value) return python_type<typename T::value_type>() + " or None";
  if constexpr (std::is_same_v<T, uint64_t>) return "a whole number, 0 or more";
  if constexpr (std::is_integral_v<T>) return "a whole number";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  if constexpr (std::is_same_v<T, std::string>) return "a str or a path";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "a list of str or paths";
  if constexpr (std::is_same_v<T, std::vector<int64_t>>) return "a list of whole numbers";
  return "a dict from names to values";
}

template <class T>
T cast(const std::string& name, const py::handle& given);

// Entries that count bytes may be sizes: {"bytes": "60MB"}.
inline std::map<std::string, double> cast_amounts(const std::string& name, const py::handle& given) {
  std::map<std::string, double> amounts;
  for (const auto& [key, entry] : given.cast<std::map<std::string, py::object>>()) {
    if (!py::isinstance<py::str>(entry))
      amounts[key] = cast<double>(name + "." + key, entry);
    else if (!parse_amount(key, entry.cast<std::string>(), amounts[key]))
      throw usage_error(name + "." + key, "has another type",
                        counts_bytes(key) ? "a number or a size such as 60MB" : "a number",
                        printable(py::repr(entry).cast<std::string>()));
  }
  return amounts;
}

template <class T>
T cast(const std::string& name, const py::handle& given) {
  try {
    if constexpr (std::is_same_v<T, std::map<std::string, double>>) return cast_amounts(name, given);
    if (std::is_same_v<T, bool> && !py::isinstance<py::bool_>(given)) throw py::cast_error();
    return (std::is_same_v<T, std::vector<std::string>> ? plain_list(given) : plain(given)).template cast<T>();
  } catch (const py::cast_error&) {
    throw usage_error(name, "has another type", python_type<T>(), printable(py::repr(given).cast<std::string>()));
  }
}

// The argument `name`, which is then no longer in `given`.
template <class T>
T take(py::dict& given, const char* name, T fallback = {}) {
  if (!given.contains(name)) return fallback;
  return cast<T>(name, given.attr("pop")(name));
}

// 0 for default_threads().
int take_threads(py::dict& given);

// Fills the listed fields from `given` and removes them from it.
template <class Options>
Options take_options(py::dict& given) {
  Options options;
  for (const RenamedField& field : renamed_fields(options))
    if (given.contains(field.before)) throw usage_error(field.before, std::string("is called `") + field.now + "` now");
  visit_fields(options, [&](auto& value, const char* name, const char*) { value = take(given, name, value); });
  return options;
}

// What is left has no meaning. The package checks keywords itself: this is for its own mistakes.
inline void refuse_rest(const py::dict& given, const std::string& function) {
  for (const auto& entry : given)
    throw usage_error(function, "has no argument `" + std::string(py::str(entry.first)) + "`");
}

// How a field is annotated in the package.
template <class T>
std::string annotation() {
  if constexpr (is_optional<T>::value) return annotation<typename T::value_type>() + " | None";
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_integral_v<T>) return "int";
  if constexpr (std::is_floating_point_v<T>) return "float";
  if constexpr (std::is_same_v<T, std::string>) return "str";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "Texts";
  if constexpr (std::is_same_v<T, std::vector<int64_t>>) return "Sequence[int]";
  if constexpr (std::is_same_v<T, std::map<std::string, double>>) return "Mapping[str, float]";
  return "Mapping[str, str]";
}

// The listed fields as python/fields.py reads them: name, annotation, default, help.
template <class... Options>
py::list fields_of() {
  py::list fields;
  const auto list = [&](auto options) {
    visit_fields(options, [&](auto& value, const char* name, const char* help) {
      fields.append(py::make_tuple(name, annotation<std::decay_t<decltype(value)>>(), value, help));
    });
  };
  (list(Options{}), ...);
  return fields;
}

// The argument `progress`, called back with a dict an event. Its answer False, an exception or Ctrl-C asks the call to
// stop, which then ends as the programs do: with what it has made so far kept.
class Watch {
 public:
  explicit Watch(py::object callback = py::none());

  // `work(progress)` while Python's other threads run and the float settings of its process change no bit. What the
  // callback raised is raised once the call has ended.
  template <class Work>
  auto call(Work&& work) {
    try {
      const auto result = [&] {
        const py::gil_scoped_release release{};
        const FloatEnvironment floats{};
        return work([this](const Event& event) { return ask(event); });
      }();
      rethrow();
      return result;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::Interrupted) rethrow();
      throw;
    }
  }

  // Whether to go on; without the interpreter.
  Flow ask(const Event& event);

 private:
  void rethrow() const;

  py::object callback_;
  std::exception_ptr raised_;
};
Watch take_watch(py::dict& given);

// attar-run, for measurements.
std::string runtime_program();

// `foreign`: what the module makes of exceptions that are not Attar's.
void register_error(py::module_& module, std::optional<Error> (*foreign)(const std::exception_ptr&) = nullptr);

}  // namespace attar::python
