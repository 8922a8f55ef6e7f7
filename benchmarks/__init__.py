"""Measures the course's library against PyTorch and Hugging Face transformers; see README.md."""
