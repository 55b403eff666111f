"""The names of metrics and arrays in results, for code reading and draws them; none of it imports torch."""
