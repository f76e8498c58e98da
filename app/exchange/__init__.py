"""Out of Fitroom and into it: tables as CSV, JSON and Parquet, TensorBoard's event files, runs of other tools."""
