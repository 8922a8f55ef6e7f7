"""Pre-training BERT: the model with both heads, its loss, the training loop, and what the model has learned.

In the shape comments: B samples, L positions, C units, M masked positions, V word pieces.

Source: Devlin et al. 2018, section 3.1 and appendix A.
"""

import math
from itertools import islice

import numpy as np
from mxnet import autograd, cpu, nd
from tqdm.auto import tqdm

from .heads import PretrainingLoss
from .machine.devices import list_devices
from .text.wordpiece import make_tokenizer
from .training.recipe import Recipe, require_count
from .training.restoring import only_values_change
from .training.run import Training, in_groups
from .training.scoring import _shares, evaluate_pretraining
from .training.workers import ALONE
from .weights.loading import load_for_pretraining

SCORED_PER_ROUND = 1024  # pairs; the whole held-out text is scored at the end
# not the paper's: beta2 for a run of thousands of steps instead of a million, epsilon for gradients small at the start
SHORT_RUN = Recipe(epsilon=1e-8, beta2=0.98)


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
