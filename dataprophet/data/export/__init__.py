"""Writing rows in the formats that trainers read."""

from dataprophet.data.export.folder import Export
from dataprophet.data.export.write import EXPORT_FORMATS, write_rows

__all__ = ["EXPORT_FORMATS", "Export", "write_rows"]
