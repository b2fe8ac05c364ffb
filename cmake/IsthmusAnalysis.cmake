# For a build that only analyses (ISTHMUS_ANALYZE): Clang reads every source and generates no code. An
# empty file stands for each object, archive, library and program.
foreach(language C CXX)
  set(CMAKE_${language}_COMPILE_OBJECT
    "<CMAKE_${language}_COMPILER> <DEFINES> <INCLUDES> <FLAGS> -fsyntax-only <SOURCE>"
    "${CMAKE_COMMAND} -E touch <OBJECT>")
  foreach(product ARCHIVE_CREATE CREATE_SHARED_LIBRARY LINK_EXECUTABLE)
    set(CMAKE_${language}_${product} "${CMAKE_COMMAND} -E touch <TARGET>")
  endforeach()
  set(CMAKE_${language}_ARCHIVE_FINISH "")
endforeach()
