// Python keyword arguments to options structs and back, through the one field listing each struct has.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "runtime/base/error.h"
#include "runtime/base/fields.h"
#include "runtime/base/progress.h"

namespace attar::python {

namespace py = pybind11;

// Fills the listed fields from `given` and removes them from it.
template <class Options>
Options take_options(py::dict& given) {
  Options options;
  visit_fields(options, [&](auto& value, const char* name, const char*) {
    if (!given.contains(name)) return;
    try {
      value = given[name].cast<std::remove_reference_t<decltype(value)>>();
    } catch (const py::cast_error&) {
      throw usage_error(name, "has another type", "", py::str(given[name]));
    }
    given.attr("pop")(name);
  });
  return options;
}

// What is left has no meaning.
inline void refuse_rest(const py::dict& given, const std::string& function) {
  for (const auto& entry : given)
    throw usage_error(function, "has no argument `" + std::string(py::str(entry.first)) + "`");
}

// Calls back with a dict an event; a result of False, an exception or Ctrl-C stops the call.
inline Progress progress_of(const py::object& callback) {
  return [callback](const Event& event) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (callback.is_none()) return Flow::GoOn;
    py::dict metrics;
    for (const Metric& metric : event.metrics) metrics[metric.name.c_str()] = metric.value;
    py::dict told;
    told["stage"] = std::string(event.stage), told["unit"] = std::string(event.unit), told["done"] = event.done,
    told["total"] = event.total;
    told["metrics"] = metrics, told["message"] = std::string(event.message);
    const py::object answer = callback(told);
    return answer.is(py::bool_(false)) ? Flow::Stop : Flow::GoOn;
  };
}

void register_recipes(py::module_& module);
void register_runtime(py::module_& module);

}  // namespace attar::python
