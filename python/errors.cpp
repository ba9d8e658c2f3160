// attar::Error as Python's attar.Error.
#include <exception>
#include <new>
#include <system_error>

#include "python/options.h"

namespace attar::python {

void register_error(py::module_& module, std::optional<Error> (*foreign)(const std::exception_ptr&)) {
  module.attr("__version__") = ATTAR_VERSION;
  static PyObject* const make = py::object(py::module_::import("attar._error").attr("from_native")).release().ptr();
  static auto of_others = foreign;
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    const auto raise = [](const Error& error) {
      const Error::Parts& p = error.parts();
      const auto text = [](const std::string& part) {  // names of files may be no UTF-8
        return py::reinterpret_steal<py::object>(
            PyUnicode_DecodeUTF8(part.data(), static_cast<Py_ssize_t>(part.size()), "backslashreplace"));
      };
      const py::object made =
          py::handle(make)(error.exit_code(), text(p.where), text(p.what), text(p.expected), text(p.got), text(p.hint));
      PyErr_SetObject(py::type::of(made).ptr(), made.ptr());
    };
    try {
      std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise(error);
    } catch (const py::error_already_set&) {
      throw;
    } catch (const std::bad_alloc& error) {
      raise(as_error(error));
    } catch (const std::system_error& error) {  // of the file system, or no thread to be had
      raise(as_error(error));
    } catch (...) {
      const std::optional<Error> error = of_others != nullptr ? of_others(pointer) : std::nullopt;
      if (!error) throw;
      raise(*error);
    }
  });
}

}  // namespace attar::python
