"""The pages of the dashboard under `/app`."""
