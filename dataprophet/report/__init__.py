"""Reports: one page that opens without a network, and its charts as files."""
