"""Files of exported traces: columns, CSV and Parquet."""
