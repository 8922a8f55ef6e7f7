"""Fine-tuning a text encoder on pairs that belong together: each text is to find its partner among a batch's."""

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon.data.dataloader import DataLoaderV1

from .machine.devices import choose_device, list_devices
from .machine.seeds import seed_everything
from .tasks.encode import TextEncoder
from .text.batches import make_batchify
from .text.docstrings import json_digest
from .text.examples import unlabelled
from .text.pairs import encode_examples
from .training.loop import train_loop
from .training.run_folder import RunFolder, settings_of
from .training.workers import ALONE

TEMPERATURE = 0.05


def finetune_encoder(
    pairs,
    pretrained="minilm-l6",
    *,
    epochs=1,
    batch_size=32,
    max_length=128,
    lr=2e-5,
    seed=1,
    ctx=None,
    output=None,
    resume=False,
    overwrite=False,
):
    """Fine-tune a pre-trained BERT so that the vectors of a question and of what answers it lie close together.

    Parameters
    ----------
    pairs : sequence of (str, str)
        A question, and a text that answers it; or whatever else belongs together.
    pretrained : str or path, default "minilm-l6"
        As for `TextEncoder.load`.
    epochs : int, default 1
    batch_size : int, default 32
        Pairs: the more there are, the more wrong partners each text is compared with.
    max_length : int, default 128
        Word pieces of a text.
    lr : float, default 2e-5
        The learning rate's peak.
    seed : int, default 1
    ctx : mxnet.Context, optional
        One device, for a batch must not be torn apart; as `choose_device` says if not given.
    output : str or path, optional
        Folder for the result and the unfinished run, which no other run is in. If not given, no file is written.
    resume, overwrite : bool, default False
        As for `finetune_reviews`.

    Returns
    -------
    encoder : TextEncoder
    history : list of dict
        As of `train_loop`.

    Raises
    ------
    ValueError
        Fewer than two pairs, a batch of one, an empty text, or several devices; else as for `TextEncoder.load`,
        `train_loop` and `RunFolder`.

    Source: Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4.4;
    Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", section 3.2.
    """
    pairs = _checked(pairs, batch_size)
    settings = settings_of({**locals(), "pairs": json_digest(pairs)})
    with RunFolder(output, settings, resume, overwrite, ALONE) as folder:
        ctx = choose_device()[0] if ctx is None else ctx
        if len(list_devices(ctx)) > 1:
            raise ValueError("train an encoder on one device: the texts of a batch are compared with each other")
        seed_everything(seed)
        encoder = TextEncoder.load(pretrained, max_length, ctx)
        folder.begin()
        history = train_loop(
            encoder.net,
            pair_batches(encoder, pairs, batch_size),
            None,
            epochs,
            lr,
            ctx,
            pair_losses,
            seed=seed,
            checkpoint=folder.checkpoint,
            resume=resume,
            settings={**settings, "pooling": encoder.reads},
        )
        folder.save(encoder.save)
        folder.finish({"pairs": len(pairs)}, history, ctx, seed)
    return encoder, history


def _checked(pairs, batch_size):
    pairs = [tuple(pair) for pair in pairs]
    if len(pairs) < 2 or batch_size < 2:
        raise ValueError(
            f"{len(pairs)} pairs in batches of {batch_size}: there must be two at least, for a text is compared with "
            "the partners of others"
        )
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
            raise ValueError(f"pair {number} must hold two texts, none of them empty; it is {pair!r}")
    return pairs


class PairOrder(gluon.data.Sampler):
    """For each batch the numbers of its samples, where samples 2i and 2i + 1 are a pair and stay together.

    The order is drawn from NumPy's global generator, anew each time. Batches are of nearly equal size: in a small one
    a text would be compared with few others.

    Parameters
    ----------
    count : int
        Pairs.
    batch_size : int
        Most pairs of a batch.
    """

    def __init__(self, count, batch_size):
        self._count, self._batches = count, -(-count // batch_size)

    def __iter__(self):
        for chosen in np.array_split(np.random.permutation(self._count), self._batches):
            yield np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel().tolist()

    def __len__(self):
        return self._batches


def pair_batches(encoder, pairs, batch_size):
    """Serve pairs of texts as `train_loop` takes them, for `pair_losses`.

    Parameters
    ----------
    encoder : TextEncoder
    pairs : sequence of (str, str)
    batch_size : int
        Most pairs of a batch.

    Returns
    -------
    mxnet.gluon.data.dataloader.DataLoaderV1
        Of (words (B, L), valid_length (B,), segments (B, L), labels (B, 1)), B twice the number of pairs: rows 2i and
        2i + 1 are a pair. The label is the number of its second text: equal texts have equal numbers.
    """
    number = {text: i for i, text in enumerate(dict.fromkeys(second for _, second in pairs))}
    labels = [np.array([number[second]], "float32") for _, second in pairs for _ in range(2)]
    texts = [text for pair in pairs for text in pair]
    encoded = encode_examples(unlabelled(texts), labels, encoder.tokenizer, encoder.max_length)
    return DataLoaderV1(
        encoded,
        batch_sampler=PairOrder(len(pairs), batch_size),
        batchify_fn=make_batchify(encoder.vocabulary, encoder.max_length),
    )


def pair_losses(vectors, labels):
    """How far each text is from choosing its partner among the batch's texts of the other kind: in-batch negatives.

    The scores are cosines / `TEMPERATURE`, of which the cross-entropy is taken. A text that is the same as the partner
    is none of those it is compared with.

    Parameters
    ----------
    vectors : mxnet.nd.NDArray
        (B, units), of length 1; rows 2i and 2i + 1 are a pair.
    labels : mxnet.nd.NDArray
        (B, 1), the number of the pair's second text.

    Returns
    -------
    mxnet.nd.NDArray
        (B,)

    Raises
    ------
    ValueError
        An odd number of rows: a pair was torn apart.

    Source: Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4.4;
    Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", section 3.2.
    """
    count, odd = divmod(len(vectors), 2)
    if odd:
        raise ValueError(f"{len(vectors)} rows are no pairs: train on one device, which gets whole batches")
    kinds = vectors.reshape((count, 2, -1))  # (pairs, 2, units)
    scores = nd.dot(kinds[:, 0], kinds[:, 1], transpose_b=True) / TEMPERATURE  # (pairs, pairs)
    numbers = labels.reshape((count, 2))[:, :1]  # (pairs, 1)
    copies = nd.broadcast_equal(numbers, numbers.T) - nd.eye(count, ctx=vectors.context)
    scores = scores - 1e9 * copies
    partner = nd.arange(count, ctx=vectors.context)
    cross_entropy = gluon.loss.SoftmaxCELoss()
    losses = [cross_entropy(rows, partner) for rows in (scores, scores.T)]  # of the first texts, of the second
    return nd.stack(*losses, axis=1).reshape(-1)
