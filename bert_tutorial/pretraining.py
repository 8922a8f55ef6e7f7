"""Pre-training BERT: the recipe for a corpus, the loop, and what the model has learned.

In the shape comments: B samples, L positions, M masked positions, V word pieces.

Source: Devlin et al. 2018, section 3.1 and appendix A.
"""

import math
from itertools import islice
from typing import NamedTuple

import numpy as np
from mxnet import autograd, nd

from .encoder import BERTModel
from .heads import BERTForPreTraining, PretrainingLoss
from .machine.devices import choose_device, list_devices
from .machine.seeds import seed_everything
from .precision import refuse_precision, set_precision
from .text.corpora import load_corpus
from .text.pretraining_examples import Examples
from .text.sentence_pairs import tokenize_corpus
from .text.vocabulary import learn_vocabulary
from .text.wordpiece import make_tokenizer
from .training.devices import example_shares
from .training.initialization import initialize_for_pretraining, start_decoder, word_frequencies
from .training.recipe import Recipe, require_count
from .training.restoring import only_values_change
from .training.run import Objective, Training, in_groups
from .training.run_folder import RunFolder, settings_of
from .training.scoring import PretrainingScore, evaluate_pretraining
from .training.workers import ALONE
from .weights.config import model_arguments, pretrained_config, read_config, tokenizer_settings
from .weights.loading import load_for_pretraining
from .weights.saving import save_pretrained
from .weights.sources import pretrained_folder

SCORED_PER_ROUND = 1024  # pairs; the whole held-out text is scored at the end
# not the paper's: beta2 for a run of thousands of steps instead of a million, epsilon for gradients small at the start;
# no bias correction, as in the authors' code: the first steps, which it would shorten, are those of the warm-up
SHORT_RUN = Recipe(epsilon=1e-8, beta2=0.98, bias_correction=False)


class PreTrained(NamedTuple):
    """What `pretrain_corpus` gives."""

    net: BERTForPreTraining
    vocabulary: object
    history: list  # as of `pretrain_loop`
    score: PretrainingScore  # of the text held out, in float32
    most_frequent: str  # word piece of the training text: what to guess without a network


def pretrain_corpus(
    corpus="docstrings",
    *,
    limit=None,
    pretrained=None,
    layers=2,
    units=128,
    heads=2,
    vocab_size=6000,
    steps=7000,
    batch_size=32,
    max_length=64,
    lr=2e-3,
    whole_words=False,
    mlm_only=False,
    precision="float32",
    seed=1,
    ctx=None,
    output=None,
    resume=False,
    overwrite=False,
    workers=ALONE,
):
    """Pre-train a BERT on plain text, and score it on held-out text: what `bert-tutorial pretrain` does.

    Parameters
    ----------
    corpus : str or path, default "docstrings"
        As for `load_corpus`.
    limit : int, optional
        Use this many documents; all if not given.
    pretrained : str or path, optional
        Go on from this BERT, as for `load_pretrained`; a new one if not given.
    layers, units, heads, vocab_size : int
        Of a new BERT; `units` a multiple of `heads`.
    steps : int, default 7000
        A batch each.
    batch_size : int, default 32
        Of each worker.
    max_length : int, default 64
        Word pieces of an example.
    lr : float, default 2e-3
        The learning rate's peak; about 1e-4 to go on from a published BERT.
    whole_words : bool, default False
        Mask whole words, not word pieces.
    mlm_only : bool, default False
        No next-sentence prediction: examples are stretches of one document.
    precision, seed, ctx, output, resume, overwrite, workers
        As for `finetune_reviews`.

    Returns
    -------
    PreTrained

    Raises
    ------
    FetchError, FileNotFoundError, TrainingDivergedError, NotImplementedError, ValueError, OSError
        As for `load_corpus`, `load_for_pretraining`, `pretrain_loop` and `RunFolder`; ValueError also for settings that
        do not fit each other.

    Source: Devlin et al. 2018, section A.2.
    """
    with RunFolder(output, settings_of(locals()), resume, overwrite, workers) as folder:
        ctx, reason = choose_device() if ctx is None else (ctx, "as asked")
        print(f"seed {seed}, device {ctx} ({reason})", flush=True)
        refuse_precision(precision, list_devices(ctx))
        if not pretrained and units % heads:
            raise ValueError(f"units must be a multiple of heads: {units} is none of {heads}")
        seed_everything(seed)
        text = load_corpus(corpus, limit)
        print(text.describe(), flush=True)
        parts = text.split()
        if pretrained:
            net, vocabulary, config, tokenizer = _published_bert(pretrained, max_length, ctx)
        else:
            net, vocabulary, config, tokenizer = _new_bert(parts[0], vocab_size, layers, units, heads, max_length)
        train, valid = (
            Examples(
                tokenize_corpus(part.documents, tokenizer),
                vocabulary,
                batch_size * workers.size,
                max_length,
                not mlm_only,
                whole_words,
            )
            for part in parts
        )
        frequencies = word_frequencies(train.corpus, len(vocabulary))
        if pretrained:
            start_decoder(net, frequencies)  # minilm-l6 was published without one
        else:
            initialize_for_pretraining(net, frequencies, ctx)
        net.hybridize(static_alloc=True)
        set_precision(net, precision)
        print(
            f"vocabulary of {len(vocabulary)}; {len(train.corpus.ids):,} word pieces of text to train on, "
            f"{len(valid.corpus.ids):,} held out",
            flush=True,
        )
        folder.begin()
        history = pretrain_loop(
            net,
            train,
            valid,
            steps,
            lr,
            ctx,
            seed=seed,
            checkpoint=folder.checkpoint,
            resume=resume,
            settings={**folder.settings, "text": text.describe(), "workers": workers.size},
            workers=workers,
        )
        config |= {"bert_tutorial": {"tokenizer": tokenizer.settings}}
        folder.save(lambda path: save_pretrained(path, net, vocabulary, config))
        set_precision(net, "float32")
        score = evaluate_pretraining(net, valid, ctx, frequencies, workers=workers)
        folder.finish({**score._asdict(), "perplexity": score.perplexity}, history, ctx, seed)
    return PreTrained(net, vocabulary, history, score, vocabulary.idx_to_token[int(frequencies.argmax())])


def _published_bert(name_or_path, max_length, ctx):
    """Network, vocabulary, configuration and tokenizer of published weights."""
    net, vocabulary = load_for_pretraining(name_or_path, ctx)
    folder = pretrained_folder(name_or_path)
    config = read_config(folder)
    positions = model_arguments(config)["max_length"]
    if max_length > positions:
        raise ValueError(f"max_length must be at most {positions}, the positions of {name_or_path}")
    return net, vocabulary, config, make_tokenizer(vocabulary, tokenizer_settings(folder))


def _new_bert(corpus, vocab_size, layers, units, heads, max_length):
    """As `_published_bert`, of a network without values and with the word pieces of a corpus."""
    sentences = (sentence for document in corpus.documents for sentence in document.sentences)
    vocabulary = learn_vocabulary(sentences, vocab_size)
    config = pretrained_config(len(vocabulary), units, 4 * units, heads, layers, 0.1, max_length)
    # dropout is for fine-tuning: a short run does not see its text often enough to learn it by heart
    net = BERTForPreTraining(BERTModel(**{**model_arguments(config), "dropout": 0}))
    return net, vocabulary, config, make_tokenizer(vocabulary, {})


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
        `SHORT_RUN` if not given: as in the authors' code, but for beta2 and epsilon.
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
    require_count("rounds", rounds)
    rounds = min(rounds, num_steps)
    with only_values_change(net):
        if not train.next_sentence:  # the loss does not use them
            for block in (net.bert.pooler, net.ns_classifier):
                block.collect_params().setattr("grad_req", "null")
        training = Training(
            net,
            lr,
            num_steps,
            recipe,
            ctx,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            settings=settings,
            workers=workers,
        )
        objective = PreTraining(net, train, valid, recipe.accumulate, training, workers)
        return training.run(objective, [num_steps * number // rounds for number in range(rounds + 1)], on_round)


class PreTraining(Objective):
    """The mean loss over a step's masked word pieces, plus the mean over its pairs of sentences."""

    round_name = "round"
    sums = ("loss", "mlm_loss", "ns_loss")

    def __init__(self, net, train, valid, accumulate, training, workers):
        self.net, self.train, self.valid, self.training, self.workers = net, train, valid, training, workers
        self.frequencies = word_frequencies(train.corpus, len(train.vocabulary))
        self.loss_fn = PretrainingLoss()
        self.loss_fn.hybridize(static_alloc=True)
        self.pairs = in_groups(train.stream(training.seed), accumulate)  # of the whole run
        self.drawn = 0  # steps

    def groups(self, first_step, last_step):
        pairs = islice(self.pairs, first_step - self.drawn, last_step - self.drawn)
        self.drawn = last_step
        for step, group in enumerate(pairs, start=first_step + 1):
            random = np.random.RandomState(self.training.seed_of(step))  # masks follow from the step
            yield [self.train.batch(pairs, random) for pairs in group]

    def size(self, group):
        num_masked = max(1.0, sum(batch.masked_weights.sum() for batch in group))
        return num_masked, sum(len(batch.words) for batch in group)

    def num_tokens(self, group):
        return sum(int(batch.valid_length.sum()) for batch in group)

    def shares(self, batch):
        return example_shares(batch, self.training.devices, self.workers)

    def backward(self, share, size, loss_scale):
        num_masked, num_pairs = size
        part, (words, segments, valid_length, masked_positions, *labels) = share
        with autograd.record():
            logits = self.net(words, segments, valid_length, masked_positions)
            mlm_loss, ns_loss = self.loss_fn(*logits, *labels)  # the part's means
            mlm_loss = mlm_loss * float(part.masked_weights.sum() / num_masked)
            ns_loss = ns_loss * (len(part.words) / num_pairs)
            loss = mlm_loss + ns_loss if self.train.next_sentence else mlm_loss
            scaled_loss = loss * loss_scale
        scaled_loss.backward()
        return {"loss": loss, "mlm_loss": mlm_loss, "ns_loss": ns_loss}

    def means(self, totals):
        return {name: totals[name] / totals["steps"] for name in ("mlm_loss", "ns_loss")}

    def score(self, number, last_step):
        devices = self.training.devices
        score = evaluate_pretraining(self.net, self.valid, devices, self.frequencies, SCORED_PER_ROUND, self.workers)
        return {
            "step": last_step,
            "valid_mlm_accuracy": score.mlm_accuracy,
            "valid_perplexity": score.perplexity,
            "valid_ns_accuracy": score.ns_accuracy,
        }

    def describe(self, row):
        parts = [
            f"step {row['step']}: masked word pieces: loss {row['mlm_loss']:.3f}, held out "
            f"{row['valid_mlm_accuracy']:.3f} right, perplexity {row['valid_perplexity']:.1f}"
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
