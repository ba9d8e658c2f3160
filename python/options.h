// Python keyword arguments to options structs and back, through the one field listing each struct has.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "runtime/base/error.h"
#include "runtime/base/fields.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/progress.h"
#include "runtime/base/suggestion.h"

namespace attar::python {

namespace py = pybind11;

// Around a long call: Python's other threads run meanwhile, and the float settings of its process change no bit.
struct NativeCall {
  py::gil_scoped_release release{};
  FloatEnvironment floats{};
};

// What pybind11's casts take: a path as str, also inside a list.
py::object plain(const py::handle& given);
// The same where a list is wanted: one str or path is a list of one, None an empty list.
py::object plain_list(const py::handle& given);

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
  return "a dict from names to values";
}

template <class T>
T cast(const std::string& name, const py::handle& given) {
  try {
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
  visit_fields(options, [&](auto& value, const char* name, const char*) { value = take(given, name, value); });
  return options;
}

// What is left has no meaning. `known`: arguments beside the fields of Options, for "did you mean".
template <class... Options>
void refuse_rest(const py::dict& given, const std::string& function, std::vector<std::string> known) {
  if (given.empty()) return;
  for (const std::vector<std::string>& names : {field_names<Options>()...})
    known.insert(known.end(), names.begin(), names.end());
  const auto name = std::string(py::str(given.begin()->first)), near = nearest(name, known);
  throw usage_error(function, "has no argument `" + printable(name) + "`", "", "",
                    near.empty() ? "" : "did you mean `" + near + "`?");
}

// The argument `progress`: called back with a dict an event. Its answer False, an exception or Ctrl-C stops the call.
Progress take_progress(py::dict& given);
// Ctrl-C alone stops the call.
Progress signals_only();

// attar-run, for measurements.
std::string runtime_program();

void register_recipes(py::module_& module);
void register_runtime(py::module_& module);

}  // namespace attar::python
