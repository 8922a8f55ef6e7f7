"""Published weights: where they come from, how they are named, read and written."""
