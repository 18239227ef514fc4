# tl_embed(TARGET NAME SYMBOL BASE dir FILES ...): compiles the files into TARGET as one table.
#
# Sources see it through the generated header "<SYMBOL>.h":
#     typedef struct embedded_file { const char *name; const char *data; size_t size; } embedded_file;
#     extern const embedded_file <SYMBOL>[];      // sorted as given; ends with a row whose name is NULL
# name is the path relative to BASE; data is followed by a NUL that size does not count, so a text file is a C string.
# The table is rebuilt when a file changes. tools/embed.cmake does the writing.
function(tl_embed)
  cmake_parse_arguments(ARG "" "TARGET;SYMBOL;BASE" "FILES" ${ARGN})
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embedded)
  file(MAKE_DIRECTORY ${out})
  # A list in a command line would be split at its semicolons, so the names travel in a file.
  string(REPLACE ";" "\n" lines "${ARG_FILES}")
  set(list ${out}/${ARG_SYMBOL}.list)
  file(CONFIGURE OUTPUT ${list} CONTENT "${lines}\n" @ONLY)
  add_custom_command(
    OUTPUT ${out}/${ARG_SYMBOL}.c ${out}/${ARG_SYMBOL}.h
    COMMAND ${CMAKE_COMMAND} -DLIST=${list} -DBASE=${ARG_BASE} -DSYMBOL=${ARG_SYMBOL} -DOUT=${out}
            -P ${CMAKE_SOURCE_DIR}/tools/embed.cmake
    DEPENDS ${ARG_FILES} ${list} ${CMAKE_SOURCE_DIR}/tools/embed.cmake
    COMMENT "Embedding ${ARG_SYMBOL}"
    VERBATIM)
  target_sources(${ARG_TARGET} PRIVATE ${out}/${ARG_SYMBOL}.c ${out}/${ARG_SYMBOL}.h)
  target_include_directories(${ARG_TARGET} PRIVATE ${out})
endfunction()
