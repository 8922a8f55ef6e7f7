"""The machine: what it is and gives, and what must be settled on it. Imports nothing of the rest of the library."""
