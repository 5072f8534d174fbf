#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/hash_texts.hpp"

namespace py = pybind11;

namespace dataprophet::bind {

void hash_texts(const py::buffer& data_object, const Int64s& offsets_object, const Int64s& out_object, int threads) {
  const Array offsets(offsets_object), out(out_object);
  const py::buffer_info data = data_object.request();
  require(offsets.ndim() == 1 && offsets.element() == Element::i64 && contiguous(offsets) && offsets.shape(0) > 0,
          "offsets must be a contiguous int64 array of an element more than there are texts");
  const std::int64_t n = offsets.shape(0) - 1;
  require(out.ndim() == 1 && out.element() == Element::i64 && contiguous(out) && out.shape(0) == n && !out.readonly(),
          "out must be a writable, contiguous int64 array of an element for each text");
  const auto* offset = static_cast<const std::int64_t*>(offsets.data());
  require(offset[0] >= 0 && offset[n] <= data.size * data.itemsize, "an offset is outside of the data");
  for (std::int64_t i = 0; i < n; ++i) require(offset[i] <= offset[i + 1], "offsets must not decrease");
  const auto* text = static_cast<const std::uint8_t*>(data.ptr);
  auto* hashes = reinterpret_cast<std::uint64_t*>(out.writable<std::int64_t>());
  const py::gil_scoped_release nogil;
  cpu::hash_texts(text, offset, n, threads, hashes);
}

}  // namespace dataprophet::bind
