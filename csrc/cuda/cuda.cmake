# The CUDA module: built when a working CUDA compiler is found. It links the CUDA runtime statically, so that it imports
# on machines with no driver, and _core never depends on CUDA.
if(DATAPROPHET_CUDA STREQUAL "OFF")
  return()
endif()

# A compiler that is present but broken must not stop an AUTO build: check_language tries it in a project of its own.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(DATAPROPHET_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DATAPROPHET_CUDA=ON but no working CUDA compiler was found; set CUDACXX to nvcc")
  endif()
  message(STATUS "dataprophet: no working CUDA compiler, the CUDA module is left out")
  return()
endif()

# enable_language() caches a default architecture that the next configuration would mistake for the user's choice.
if(NOT DEFINED DATAPROPHET_USER_ARCHITECTURES)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "$ENV{CUDAARCHS}")
  endif()
  set(DATAPROPHET_USER_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}" CACHE INTERNAL "architectures that the user asked for")
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    unset(CMAKE_CUDA_ARCHITECTURES)
  endif()
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_STANDARD 17)
enable_language(CUDA)
if(DATAPROPHET_USER_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "${DATAPROPHET_USER_ARCHITECTURES}")
else()
  string(REGEX REPLACE "-[a-z]+" "" KNOWN "${CMAKE_CUDA_ARCHITECTURES_ALL}")
  set(CMAKE_CUDA_ARCHITECTURES "")
  foreach(ARCHITECTURE IN LISTS DATAPROPHET_CUDA_ARCHITECTURES)
    string(REGEX MATCH "^[0-9]+" NUMBER "${ARCHITECTURE}")
    if(NUMBER IN_LIST KNOWN)
      list(APPEND CMAKE_CUDA_ARCHITECTURES "${ARCHITECTURE}")
      set(NEWEST "${NUMBER}")
    endif()
  endforeach()
  if(NOT NEWEST)
    message(FATAL_ERROR "this nvcc knows none of ${DATAPROPHET_CUDA_ARCHITECTURES}; set CMAKE_CUDA_ARCHITECTURES or DATAPROPHET_CUDA=OFF")
  endif()
  list(APPEND CMAKE_CUDA_ARCHITECTURES "${NEWEST}-virtual") # PTX of the newest, for GPUs that come later
endif()
message(STATUS "dataprophet: CUDA ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")

string(REPLACE ";" " " ARCHITECTURE_TEXT "${CMAKE_CUDA_ARCHITECTURES}")
# .cu files never see Python's or pybind11's headers. No fast math: denormal numbers count, and division and square
# roots are rounded correctly but where ptx.cuh says otherwise. A new file goes here, and the emulator finds it by itself.
add_library(dataprophet_cuda STATIC csrc/cuda/average_directions.cu csrc/cuda/cluster_counts.cu
  csrc/cuda/cluster_sums.cu csrc/cuda/cosine_to.cu csrc/cuda/device.cu csrc/cuda/distance_sums.cu csrc/cuda/kmeans.cu
  csrc/cuda/mean_direction.cu csrc/cuda/measure_rows.cu csrc/cuda/nearest.cu csrc/cuda/plus_plus.cu
  csrc/cuda/silhouette.cu csrc/cuda/weights.cu)
target_include_directories(dataprophet_cuda PRIVATE csrc)
target_compile_definitions(dataprophet_cuda PRIVATE DATAPROPHET_CUDA_ARCHITECTURES="${ARCHITECTURE_TEXT}")
pybind11_add_module(_cuda MODULE csrc/bind/cuda/module.cpp csrc/bind/cuda/directions.cpp
  csrc/bind/cuda/clusters.cpp csrc/bind/array.cpp)
target_compile_options(_cuda PRIVATE ${BASELINE_FLAGS})
target_link_libraries(_cuda PRIVATE dataprophet_flags dataprophet_cuda)
install(TARGETS _cuda LIBRARY DESTINATION .)
