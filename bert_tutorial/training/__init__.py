"""One training run, in parts that each do one thing."""
