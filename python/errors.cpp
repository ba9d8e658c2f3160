// The Python module: registrations over the same calls that the programs use.
#include <c10/util/Exception.h>

#include <exception>

#include "python/options.h"

namespace attar::python {
namespace {

// attar.Error(message), with kind, exit_code, where, what, expected, got, hint.
void register_error(py::module_& module) {
  static py::object error_type = py::module_::import("attar._error").attr("Error");
  module.attr("Error") = error_type;
  py::register_exception_translator([](std::exception_ptr pointer) {
    const auto raise = [](const Error& error) {
      const Error::Parts& parts = error.parts();
      const py::object made =
          error_type(error.what(), error.exit_code(), parts.where, parts.what, parts.expected, parts.got, parts.hint);
      PyErr_SetObject(error_type.ptr(), made.ptr());
    };
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::Interrupted && PyErr_Occurred() != nullptr) return;
      raise(error);
    } catch (const c10::Error& error) {  // one line, as the programs say it: LibTorch's own text ends in a backtrace
      const std::string text = error.what_without_backtrace();
      raise(Error(ErrorKind::Failure, {.what = text.substr(0, text.find('\n'))}));
    }
  });
}

}  // namespace
}  // namespace attar::python

PYBIND11_MODULE(_C, module) {
  module.doc() = "Attar's calls; use the package `attar`";
  module.attr("__version__") = ATTAR_VERSION;
  attar::python::register_error(module);
  attar::python::register_recipes(module);
  attar::python::register_runtime(module);
}
