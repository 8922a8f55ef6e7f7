"""What a BERT is fine-tuned for: one class for each kind of answer, all with the same base."""
