"""A tag for each word: which are names, and of what."""

import numpy as np
from mxnet import nd
from mxnet.gluon.data import SimpleDataset

from ..heads import BERTTagger
from ..text.bio import OUTSIDE, score_tags
from ..text.first_pieces import BEYOND, encode_words
from ..text.tagged import cut_text, load_tagged, require_known_tags, tags_of
from .model import TaskModel, label_names

IGNORED = -1  # the label of all positions but those of the words' first pieces


class TokenTagger(TaskModel):
    """BERT with a head that tags word pieces, and what turns a sentence, cut into words, into its input.

    A word's tag is that of its first piece. A word that has none, such as a control character, or of which `max_length`
    leaves none, is "O".

    Attributes
    ----------
    net : BERTTagger
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration; its `id2label` holds the tags, in BIO.
    ctx : mxnet.Context or list of mxnet.Context

    Source: Devlin et al. 2018, section 5.3 and figure 4(d).
    """

    task = "tag"
    architecture = "BertForTokenClassification"
    label_padding = IGNORED

    @classmethod
    def describe_answers(cls, labels):
        """See `TaskModel`; the tags, "O" among them."""
        return label_names(labels)

    @classmethod
    def make_net(cls, bert, config):
        """See `TaskModel`."""
        return BERTTagger(bert, num_tags=len(config["id2label"]))

    @classmethod
    def read(cls, data, split, limit=None):
        """Sentences of one split, as `load_tagged` gives them."""
        return load_tagged(data, split, limit)

    @classmethod
    def answers_of(cls, train):
        """What `from_pretrained` wants to know of the training sentences."""
        return {"labels": tags_of(train)}

    @property
    def labels(self):
        """The tags, in the order of the outputs."""
        return [self.config["id2label"][str(number)] for number in range(len(self.config["id2label"]))]

    def loss(self):
        """What training minimises, for `train_loop`: the mean over a sentence's words of the softmax cross-entropy."""

        def mean_over_words(logits, labels):
            labels = labels.astype("float32")  # (B, L)
            is_word = labels != IGNORED
            losses = -nd.log_softmax(logits).pick(nd.maximum(labels, 0), axis=2)  # (B, L, tags) -> (B, L)
            num_words = nd.maximum(is_word.sum(axis=1), 1)  # a sentence may have no word piece at all
            return (losses * is_word).sum(axis=1) / num_words  # (B,)

        return mean_over_words

    def encode(self, sentences):
        """See `TaskModel`; of tagged sentences. The label is an array (L,): numbers of tags, or `IGNORED`."""
        require_known_tags(sentences, self.labels)
        number = {tag: i for i, tag in enumerate(self.labels)}
        encoded = self._encode_words([sentence.tokens for sentence in sentences])
        samples = []
        for sentence, (ids, firsts) in zip(sentences, encoded, strict=True):
            labels = np.full_like(ids, IGNORED)  # (L,)
            numbers = np.array([number[tag] for tag in sentence.tags])  # (words,)
            labels[firsts[firsts >= 0]] = numbers[firsts >= 0]
            samples.append(_sample(ids, labels))
        return SimpleDataset(samples)

    def _encode_words(self, sentences):
        return encode_words(sentences, self.tokenizer, self.max_length)

    def score(self, sentences, batch_size=32):
        """Metrics on tagged sentences: those of `score_tags`, and words_cut.

        words_cut is how many words `max_length` leaves no piece of. They count as answered "O".
        """
        require_known_tags(sentences, self.labels)
        encoded = self._encode_words([sentence.tokens for sentence in sentences])
        answers = self._answers(encoded, batch_size)
        words_cut = sum(int((firsts == BEYOND).sum()) for _, firsts in encoded)
        return score_tags([sentence.tags for sentence in sentences], answers) | {"words_cut": words_cut}

    def predict(self, sentences, batch_size=32):
        """Tag sentences.

        Parameters
        ----------
        sentences : list of (list of str) or list of str
            The words of each; or texts, to be cut into words as `cut_text` does.
        batch_size : int, default 32

        Returns
        -------
        list of (list of str)
            A tag for each word. They need not be well-formed: see `entities`.
        """
        words = [cut_text(sentence) if isinstance(sentence, str) else sentence for sentence in sentences]
        return self._answers(self._encode_words(words), batch_size)

    def _answers(self, encoded, batch_size):
        """Tags of what `encode_words` gives."""
        samples = SimpleDataset([_sample(ids, np.full_like(ids, IGNORED)) for ids, _ in encoded])
        tags = np.array([*self.labels, OUTSIDE], dtype=object)
        answers = []
        for (_, firsts), logits in zip(encoded, self.outputs(samples, batch_size), strict=True):
            best = logits.argmax(axis=1)  # (L,)
            answers.append(tags[np.where(firsts >= 0, best[firsts], -1)].tolist())
        return answers

    def answer(self, texts, batch_size=32):
        """As `predict`: a dict for each text, with its tokens and their tags."""
        sentences = [cut_text(text) for text in texts]
        for tokens, tags in zip(sentences, self.predict(sentences, batch_size), strict=True):
            yield {"tokens": tokens, "tags": tags}


def _sample(ids, labels):
    return ids, len(ids), np.zeros_like(ids), labels
