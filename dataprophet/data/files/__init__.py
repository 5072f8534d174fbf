"""Rows out of files: Arrow and Parquet, JSON, CSV and TSV."""
