# cmake -DMODULE=.../attar_runtime.js -DPAGE=attar.html -P page.cmake: page.html with all that it needs inside, so that it opens from a
# disk, where a page may read no other file.
cmake_path(REPLACE_EXTENSION MODULE wasm OUTPUT_VARIABLE binary)
execute_process(COMMAND base64 -w 0 ${binary} OUTPUT_VARIABLE module COMMAND_ERROR_IS_FATAL ANY)
foreach(part page.html page.css page.js worker.js attar.js)
  file(READ ${CMAKE_CURRENT_LIST_DIR}/${part} ${part})
endforeach()
file(READ ${MODULE} glue)
set(page "${page.html}")
string(REPLACE "{{style}}" "${page.css}" page "${page}")
string(REPLACE "{{page}}" "${page.js}" page "${page}")
string(REPLACE "{{worker}}" "${glue}\n${attar.js}\n${worker.js}" page "${page}")
string(REPLACE "{{module}}" "${module}" page "${page}")
file(WRITE ${PAGE} "${page}")
