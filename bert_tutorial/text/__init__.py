"""From text to batches: datasets and corpora, word pieces, pre-training examples."""
