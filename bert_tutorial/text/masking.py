"""Masked language modelling: which word pieces are to be predicted, and what hides them.

In the shape comments: B samples, L positions, P slots for a sample's masked pieces.

Source: Devlin et al. 2018, section 3.1, task 1, and appendix A.1.
"""

import math

import numpy as np

from .vocabulary import SPECIAL_TOKENS


class Masking:
    """Chooses word pieces to predict and hides them: `masking(words, random)`.

    Of a sample's word pieces 15 %, rounded, at least one, are chosen; of these 80 % become [MASK], 10 % a random word
    piece, 10 % stay. Special tokens, [UNK] among them, are neither chosen nor put in.

    Parameters
    ----------
    vocabulary : nlp.vocab.BERTVocab
    whole_words : bool, default False
        Choose all pieces of a word or none. A word of more pieces than are still to choose is passed over, except that
        one of the shortest words is chosen in any case if there are slots for it.
    mask_ratio : float, default 0.15

    Raises
    ------
    ValueError
        `mask_ratio` is not in (0, 1], or the vocabulary holds special tokens only.

    Source: Devlin et al. 2018, section 3.1, task 1, and appendix A.1; whole words: the authors' published code.
    """

    def __init__(self, vocabulary, whole_words=False, mask_ratio=0.15):
        if not 0 < mask_ratio <= 1:
            raise ValueError(f"mask_ratio must be above 0 and at most 1, not {mask_ratio}")
        self.vocabulary, self.mask_ratio = vocabulary, mask_ratio
        self._ordinary = ~np.isin(vocabulary.idx_to_token, SPECIAL_TOKENS)
        self._continues = np.array([whole_words and token.startswith("##") for token in vocabulary.idx_to_token])
        if not self._ordinary.any():
            raise ValueError("the vocabulary holds special tokens only: there is nothing to predict")

    def __call__(self, words, random):
        """Mask a batch anew.

        Parameters
        ----------
        words : np.ndarray
            (B, L) ids, with special tokens and padding. Not changed.
        random : np.random.RandomState

        Returns
        -------
        tuple of np.ndarray
            words, masked_positions, masked_labels and masked_weights as in `Batch`, P = ceil(mask_ratio * L).
        """
        samples, slots = len(words), math.ceil(self.mask_ratio * words.shape[1])
        row, position = np.nonzero(self._choose(words, slots, random))  # (M,) each
        labels = words[row, position]
        kind = random.random_sample(len(row))
        anything = random.choice(np.flatnonzero(self._ordinary), len(row))
        mask = self.vocabulary[self.vocabulary.mask_token]
        words = words.copy()
        words[row, position] = np.where(kind < 0.8, mask, np.where(kind < 0.9, anything, labels))
        # the chosen pieces of sample k fill its slots, k * P to k * P + P - 1, from the first
        slot = row * slots + np.arange(len(row)) - np.searchsorted(row, row)
        masked_positions = np.zeros((2, samples * slots), dtype="int32")
        masked_positions[0] = np.repeat(np.arange(samples), slots)
        masked_positions[1, slot] = position
        masked_labels, masked_weights = np.zeros((2, samples * slots), dtype="float32")
        masked_labels[slot] = labels
        masked_weights[slot] = 1
        return words, masked_positions, masked_labels, masked_weights

    def _choose(self, words, slots, random):
        ordinary = self._ordinary[words]  # (B, L)
        begins = ordinary.copy()
        begins[:, 1:] &= ~(self._continues[words[:, 1:]] & ordinary[:, :-1])
        word = np.cumsum(begins, axis=1) * ordinary  # a sample's words numbered from 1; 0 for special tokens
        rows, numbers = np.arange(len(words)), word.max() + 1  # W numbers
        sizes = np.bincount((word + rows[:, None] * numbers).ravel(), minlength=len(words) * numbers)
        sizes = sizes.reshape(-1, numbers)  # (B, W)
        sizes[:, 0] = 0
        shortest = np.where(sizes > 0, sizes, slots).min(axis=1)
        left = np.clip(np.rint(self.mask_ratio * ordinary.sum(axis=1)), shortest, slots)  # (B,)
        chosen = np.zeros(sizes.shape, dtype=bool)
        for number in np.argsort(random.random_sample(sizes.shape), axis=1).T:  # one word of each sample
            size = sizes[rows, number]
            chosen[rows, number] = size <= left
            left -= size * (size <= left)
            if not left.any():
                break
        return chosen[rows[:, None], word] & ordinary
