"""Pre-training BERT: the model with both heads, its loss, the training loop, and what the model has learned.

In the shape comments: B samples, L positions, C units, M masked positions, V word pieces.

Source: Devlin et al. 2018, section 3.1 and appendix A.
"""

import math
from itertools import islice
from typing import NamedTuple

import numpy as np
from mxnet import autograd, cpu, gluon, nd
from mxnet.gluon import HybridBlock
from mxnet.ndarray import NDArray
from tqdm.auto import tqdm

from .encoder import leave_shared_memory
from .heads import MLMDecoder, NSClassifier, check_masked_positions
from .machine.runtime import list_devices, raise_kept_interrupt
from .text.pretraining_examples import Batch, make_pairs, split_batch
from .text.wordpiece import make_tokenizer
from .training.restoring import only_values_change
from .training.run import Recipe, Training, devices_of, in_groups, require_count
from .training.workers import ALONE
from .weights.loading import fill_heads, head_parameters, load_pretrained, pretrained_folder

SCORED_PER_ROUND = 1024  # pairs; the whole held-out text is scored at the end
# not the paper's: beta2 for a run of thousands of steps instead of a million, epsilon for gradients small at the start
SHORT_RUN = Recipe(epsilon=1e-8, beta2=0.98)


class BERTForPreTraining(HybridBlock):
    """BERT with both pre-training heads, which share its word embedding and its pooler.

    Parameters
    ----------
    bert : BERTModel
        Ours.

    Inputs:
        - **words**: ids (B, L)
        - **segments**: (B, L), 0 or 1
        - **valid_length**: (B,)
        - **masked_positions**: (2, M), row 0 the sample, row 1 the position in it

    Outputs:
        - MLM logits (M, V)
        - NSP logits (B, 1), positive for a true next sentence

    Source: Devlin et al. 2018, section 3.1 and figure 1 (left).
    """

    def __init__(self, bert, **kwargs):
        super().__init__(**kwargs)
        vocab_size, units = bert.encoder.word_embed.weight.shape
        self.bert = bert
        self.ns_classifier = NSClassifier(units, pooler=bert.pooler)
        self.mlm_decoder = MLMDecoder(vocab_size, units, word_embed=bert.encoder.word_embed)

    def forward(self, words, segments, valid_length, masked_positions):
        """See the class."""
        arrays = (words, segments, valid_length, masked_positions)
        if isinstance(words, NDArray):
            arrays = tuple(map(leave_shared_memory, arrays))
            self.bert.encoder.check(*arrays[:3])  # inside the hybridized graph the blocks' own checks do not run
            check_masked_positions(words.shape, masked_positions)
        return super().forward(*arrays)

    def hybrid_forward(self, F, words, segments, valid_length, masked_positions):
        encodings = self.bert.encoder(words, segments, valid_length)
        return self.mlm_decoder(encodings, masked_positions), self.ns_classifier(encodings)


def load_for_pretraining(name_or_path, ctx=None):
    """Load published BERT weights to pre-train them further.

    Parameters
    ----------
    name_or_path : str or path
        As for `load_pretrained`.
    ctx : mxnet.Context or list of mxnet.Context, optional
        Devices of the parameters; the CPU if not given.

    Returns
    -------
    net : BERTForPreTraining
        With the published heads; fresh ones if the checkpoint has none (`minilm-l6`).
    vocabulary : gluonnlp.vocab.BERTVocab

    Raises
    ------
    FetchError, FileNotFoundError, ValueError
        As for `load_pretrained`; ValueError also for heads that do not fit, or only one of the two.
    """
    devices = list_devices(cpu() if ctx is None else ctx)
    folder = pretrained_folder(name_or_path)
    bert, vocabulary = load_pretrained(folder, devices)
    net = BERTForPreTraining(bert)
    heads = net.ns_classifier, net.mlm_decoder
    if not fill_heads(folder, *heads, devices):
        for parameter in head_parameters(*heads).values():
            parameter.initialize(ctx=devices)
    return net, vocabulary


class PretrainingLoss(HybridBlock):
    """Mean loss of the masked word pieces, and mean loss of the next-sentence predictions; BERT minimises their sum.

    Inputs:
        - **mlm_logits**: (M, V)
        - **ns_logits**: (B, 1)
        - **masked_labels**: the ids that were masked, (M,)
        - **masked_weights**: (M,), 0 for entries that only fill up the batch, else 1
        - **ns_labels**: (B,), 1 for a true next sentence, else 0

    Outputs:
        - MLM loss (1,), weighted by the masked count
        - NSP loss (1,)

    Source: Devlin et al. 2018, section A.2.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mlm_loss = gluon.loss.SoftmaxCELoss()
        self.ns_loss = gluon.loss.SigmoidBCELoss()

    def hybrid_forward(self, F, mlm_logits, ns_logits, masked_labels, masked_weights, ns_labels):
        mlm_losses = self.mlm_loss(mlm_logits, masked_labels) * masked_weights  # (M,)
        num_masked = F.maximum(F.sum(masked_weights), 1)  # a text of [UNK] only has nothing to mask
        return F.sum(mlm_losses) / num_masked, F.mean(self.ns_loss(ns_logits, ns_labels))


class PretrainingScore(NamedTuple):
    """How well a held-out text is predicted, and how well without any network."""

    mlm_accuracy: float  # share of masked word pieces whose most probable prediction is right
    mlm_loss: float  # mean over the masked word pieces, in nats
    ns_accuracy: float  # 0.5 for guessing; nan without next-sentence prediction
    ns_loss: float
    num_masked: int
    num_pairs: int
    mlm_baseline: float  # accuracy of always saying the training text's most frequent word piece
    baseline_loss: float  # of saying each word piece's frequency in the training text

    @property
    def perplexity(self):
        """Of the masked word pieces; infinite beyond the range of floating-point numbers."""
        return _exp(self.mlm_loss)

    @property
    def baseline_perplexity(self):
        """Of the masked word pieces, by their frequencies in the training text."""
        return _exp(self.baseline_loss)


def _exp(number):
    try:
        return math.exp(number)
    except OverflowError:
        return math.inf


def word_frequencies(corpus, vocab_size):
    """Share of each word piece in a text, (vocab_size,); one that does not occur counts as if it did once."""
    counts = np.bincount(corpus.ids, minlength=vocab_size) + 1
    return counts / counts.sum()


def initialize_for_pretraining(net, frequencies, ctx=None):
    """Give a BERTForPreTraining its first parameters.

    The normal's deviation is 1 / sqrt(units) instead of BERT's 0.02, and the decoder starts from the word pieces'
    frequencies instead of learning them first. BERT's own values suit 768 units and days of training: with few units
    and the high learning rate of a short run, all encodings collapse into one vector and stay there.

    Parameters
    ----------
    net : BERTForPreTraining
    frequencies : np.ndarray
        From `word_frequencies`, (V,).
    ctx : mxnet.Context or list of mxnet.Context, optional
        Devices of the parameters; the CPU if not given.

    Raises
    ------
    ValueError
        No device, or one twice.
    """
    units = net.bert.encoder.word_embed.weight.shape[1]
    net.initialize(ctx=list_devices(cpu() if ctx is None else ctx))
    for name, parameter in net._collect_params_with_prefix().items():
        if name.endswith("weight"):
            parameter.set_data(nd.random.normal(0, units**-0.5, shape=parameter.shape, ctx=cpu()))
    start_decoder(net, frequencies)


def start_decoder(net, frequencies):
    """Let a decoder that was never trained, so that its biases are 0, start from the word pieces' frequencies (V,)."""
    bias = net.mlm_decoder.decoder[3].bias
    if not bias.list_data()[0].asnumpy().any():
        bias.set_data(nd.array(np.log(frequencies), cpu()))


def pretrain_loop(
    net,
    train,
    valid,
    num_steps,
    lr,
    ctx,
    *,
    recipe=SHORT_RUN,
    rounds=10,
    seed=None,
    checkpoint=None,
    resume=False,
    settings=None,
    on_round=None,
    workers=ALONE,
):
    """Pre-train BERT: predict masked word pieces and next sentences.

    It computes in the precision that `set_precision` gave the network. Like `train_loop`, it changes nothing but the
    values of the parameters.

    Parameters
    ----------
    net : BERTForPreTraining
        Initialised.
    train, valid : Examples
        To train on; to score after each round.
    num_steps : int
        A batch each, or as many as `recipe.accumulate` says.
    lr : float
        The learning rate's peak.
    ctx : mxnet.Context or list of mxnet.Context
        As for `train_loop`.
    recipe : Recipe, optional
        `SHORT_RUN` if not given: the paper's, but for beta2 and epsilon.
    rounds : int, default 10
        Parts of the training; a row of the history, and a score, for each.
    seed, checkpoint, resume, settings, workers
        As for `train_loop`.
    on_round : callable, optional
        Called with each row, to draw a curve.

    Returns
    -------
    list of dict
        One for each round: step, mlm_loss and ns_loss (means over the round), valid_mlm_accuracy, valid_perplexity,
        valid_ns_accuracy, seconds, tokens_per_second.

    Raises
    ------
    TrainingDivergedError
        The loss, or the held-out text's perplexity, became NaN or infinite. `net` is put back to the parameters of the
        last round.
    ValueError
        No device or one twice, a setting out of range, or a checkpoint made with other settings.

    Source: Devlin et al. 2018, section A.2.
    """
    if resume and not checkpoint:
        raise ValueError("resume needs the checkpoint to continue from")
    require_count("rounds", rounds)
    frequencies = word_frequencies(train.corpus, len(train.vocabulary))
    loss_fn = PretrainingLoss()
    loss_fn.hybridize(static_alloc=True)
    with only_values_change(net):
        if not train.next_sentence:  # the loss does not use them
            for block in (net.bert.pooler, net.ns_classifier):
                block.collect_params().setattr("grad_req", "null")
        training = Training(
            net, lr, num_steps, recipe, ctx, seed=seed, checkpoint=checkpoint, settings=settings, workers=workers
        )
        if resume:
            training.restore()
        rounds = min(rounds, num_steps)

        def backward(group):
            random = np.random.RandomState(training.seed_of(training.step + 1))  # masks follow from the step
            batches = [train.batch(pairs, random) for pairs in group]
            return _backward(net, batches, loss_fn, training.devices, workers, train.next_sentence, training.loss_scale)

        groups = in_groups(train.stream(training.seed), recipe.accumulate)
        groups = islice(groups, num_steps * len(training.history) // rounds, None)
        for number in range(len(training.history) + 1, rounds + 1):
            first_step, last_step = num_steps * (number - 1) // rounds, num_steps * number // rounds
            row = training.train(
                first_step,
                last_step - first_step,
                islice(groups, last_step - first_step),
                backward,
                _means,
                f"round {number}/{rounds}",
            )
            score = evaluate_pretraining(net, valid, training.devices, frequencies, SCORED_PER_ROUND, workers)
            row |= {
                "step": last_step,
                "valid_mlm_accuracy": score.mlm_accuracy,
                "valid_perplexity": score.perplexity,
                "valid_ns_accuracy": score.ns_accuracy,
            }
            training.finish_round(row)
            tqdm.write(_describe(row))
            if on_round:
                on_round(row)
        training.finish()
    return training.history


def _shares(batch, devices, workers):
    """Split a worker's part of a batch over its devices: for each that has work, as numbers and on the device."""
    mine = split_batch(batch, workers.size)[workers.rank : workers.rank + 1]
    parts = split_batch(*mine, len(devices)) if mine else []
    return [
        (part, Batch(*(nd.array(array, device, array.dtype) for array in part)))
        for part, device in zip(parts, devices[: len(parts)], strict=True)
    ]


def _backward(net, batches, loss_fn, devices, workers, next_sentence, loss_scale):
    """This worker's part of the gradients of `loss_scale` times the loss.

    That is the mean over all the batches' masked word pieces plus the mean over their pairs.
    """
    num_masked = max(1.0, sum(batch.masked_weights.sum() for batch in batches))
    num_pairs = sum(len(batch.words) for batch in batches)
    sums = {name: nd.zeros(1, devices[0]) for name in ("loss", "mlm_loss", "ns_loss")}
    sums["steps"] = nd.full(1, float(workers.rank == 0), devices[0])
    shares = (share for batch in batches for share in _shares(batch, devices, workers))
    for part, (words, segments, valid_length, masked_positions, *labels) in shares:
        with autograd.record():
            logits = net(words, segments, valid_length, masked_positions)
            mlm_loss, ns_loss = loss_fn(*logits, *labels)  # the part's means
            mlm_loss = mlm_loss * float(part.masked_weights.sum() / num_masked)
            ns_loss = ns_loss * (len(part.words) / num_pairs)
            loss = mlm_loss + ns_loss if next_sentence else mlm_loss
            scaled_loss = loss * loss_scale
        scaled_loss.backward()
        for name, value in (("loss", loss), ("mlm_loss", mlm_loss), ("ns_loss", ns_loss)):
            sums[name] = sums[name] + value.as_in_context(devices[0])
    return sums, sum(int(batch.valid_length.sum()) for batch in batches)


def _means(sums):
    return {name: sums[name] / sums["steps"] for name in ("mlm_loss", "ns_loss")}


def _describe(row):
    parts = [
        f"step {row['step']}: masked word pieces: loss {row['mlm_loss']:.3f}, held out {row['valid_mlm_accuracy']:.3f} "
        f"right, perplexity {row['valid_perplexity']:.1f}"
    ]
    if not math.isnan(row["valid_ns_accuracy"]):
        parts.append(f"next sentence: loss {row['ns_loss']:.3f}, held out {row['valid_ns_accuracy']:.3f} right")
    return "; ".join([*parts, f"{row['tokens_per_second']:.0f} tokens/s"])


def evaluate_pretraining(net, examples, ctx, frequencies, limit=None, workers=ALONE):
    """Score both predictions on a held-out text; always the same pairs and masks.

    Parameters
    ----------
    net : BERTForPreTraining
    examples : Examples
    ctx : mxnet.Context or list of mxnet.Context
        As for `evaluate`.
    frequencies : np.ndarray
        Of the training text, from `word_frequencies`, (V,).
    limit : int, optional
        Score this many pairs only.
    workers : Workers, optional
        As for `evaluate`.

    Returns
    -------
    PretrainingScore

    Raises
    ------
    ValueError
        The text holds nothing that the vocabulary knows, or the network is not on these devices.
    """
    devices = devices_of(net, ctx)
    random = np.random.RandomState(0)
    pairs = make_pairs(examples.corpus, examples.max_length, random, examples.next_sentence)[:limit]
    sums = np.zeros(4)
    labels = []
    for begin in range(0, len(pairs), examples.batch_size):
        raise_kept_interrupt()
        batch = examples.batch(pairs[begin : begin + examples.batch_size], random)
        scores = [_score(net, share) for _, share in _shares(batch, devices, workers)]
        for score in scores:  # all devices have work before one is read
            sums += score.asnumpy().ravel()
        labels.append(batch.masked_labels[batch.masked_weights > 0].astype(int))
    labels = np.concatenate(labels)
    if not len(labels):
        raise ValueError("the held-out text has no word piece to predict: hold out more text")
    sums = workers.sum(nd.array(sums, cpu(), "float64")).asnumpy()
    mlm_right, mlm_loss = (sums[:2] / len(labels)).tolist()
    ns_right, ns_loss = (sums[2:] / len(pairs)).tolist() if examples.next_sentence else (math.nan, math.nan)
    baseline = float(np.mean(labels == frequencies.argmax())), -float(np.log(frequencies[labels]).mean())
    return PretrainingScore(mlm_right, mlm_loss, ns_right, ns_loss, len(labels), len(pairs), *baseline)


def _score(net, batch):
    """Sums over a batch of what is right, and of the losses, for both tasks: (4, 1)."""
    mlm_logits, ns_logits = net(*batch[:4])
    mlm_right = (mlm_logits.argmax(axis=1) == batch.masked_labels) * batch.masked_weights
    mlm_losses = gluon.loss.SoftmaxCELoss()(mlm_logits, batch.masked_labels) * batch.masked_weights
    ns_right = (ns_logits.reshape(-1) > 0) == batch.ns_labels
    ns_losses = gluon.loss.SigmoidBCELoss()(ns_logits, batch.ns_labels)
    return nd.stack(*(array.sum() for array in (mlm_right, mlm_losses, ns_right, ns_losses)))


def fill_mask(text, net=None, vocabulary=None, count=5):
    """Guess the word piece that "[MASK]" stands for.

    Parameters
    ----------
    text : str
        With one "[MASK]".
    net : BERTForPreTraining, optional
        From `load_for_pretraining`; the small one that ships with the course, on the CPU, if not given. The first of
        its devices computes.
    vocabulary : gluonnlp.vocab.BERTVocab, optional
        The network's.
    count : int, default 5
        Number of guesses.

    Returns
    -------
    list of (str, float)
        Word pieces and their probabilities, the best first.

    Raises
    ------
    ValueError
        The text has no "[MASK]", or more than one.
    """
    before, *after = text.split("[MASK]")
    if len(after) != 1:
        raise ValueError(f"the text must hold [MASK] once, not {len(after)} times")
    if net is None:
        net, vocabulary = load_for_pretraining("small")
    tokenizer = make_tokenizer(vocabulary, {})
    tokens = [vocabulary.cls_token, *tokenizer(before), vocabulary.mask_token, *tokenizer(*after), vocabulary.sep_token]
    ctx = net.bert.encoder.word_embed.weight.list_ctx()[0]
    words = nd.array([vocabulary[tokens]], ctx)  # (1, L)
    position = nd.array([[0], [tokens.index(vocabulary.mask_token)]], ctx)  # (2, 1)
    logits, _ = net(words, nd.zeros_like(words), nd.array([len(tokens)], ctx), position)
    probabilities = logits.softmax()[0].asnumpy()
    best = probabilities.argsort()[::-1][:count]
    return [(vocabulary.idx_to_token[i], float(probabilities[i])) for i in best]
