"""Fine-tuning a pre-trained BERT: the recipe for reviews, and that for a task of your own.

In the shape comments: B samples, L positions.

Source: Devlin et al. 2018, sections 3.2 and A.3.
"""

from operator import itemgetter
from typing import NamedTuple

from mxnet import gluon

from .classifier import SentimentClassifier
from .machine.devices import choose_device
from .machine.seeds import seed_everything
from .precision import set_precision
from .tasks.answer import QuestionAnswerer
from .tasks.classify import TextClassifier, balanced_weights
from .tasks.model import TaskModel
from .tasks.regress import TextRegressor
from .tasks.tag import TokenTagger
from .text.datasets import load_datasets, split_off_validation
from .training.layers import decay_rates, freeze_layers
from .training.loop import train_loop
from .training.recipe import Recipe
from .training.run_folder import RunFolder, settings_of
from .training.scoring import evaluate
from .training.workers import ALONE

MINIMUM_FOR_VALIDATION = 1000  # reviews; a tenth of fewer cannot tell one epoch from another


MODELS = (SentimentClassifier, TextClassifier, TextRegressor, TokenTagger, QuestionAnswerer)
TASKS = {model.task: model for model in MODELS}


class FineTuned(NamedTuple):
    """What `finetune_reviews` and `finetune_task` give."""

    classifier: TaskModel
    history: list  # as of `train_loop`
    score: object  # of the test split, in float32: an Evaluation of reviews, else a dict of metrics


def finetune_reviews(
    pretrained="minilm-l6",
    data=("sample",),
    *,
    train_limit=None,
    test_limit=None,
    epochs=4,
    batch_size=16,
    max_length=256,
    pooling=None,
    lr=1e-4,
    patience=None,
    accumulate=1,
    layer_decay=1.0,
    freeze=0,
    precision="float32",
    seed=1,
    cached=True,
    ctx=None,
    output=None,
    resume=False,
    overwrite=False,
    workers=ALONE,
):
    """Fine-tune a pre-trained BERT for sentiment, and score it on the test split: what `bert-tutorial finetune` does.

    From `MINIMUM_FOR_VALIDATION` training reviews on, a tenth of them choose the best of several epochs.

    Parameters
    ----------
    pretrained : str or path, default "minilm-l6"
        As for `load_pretrained`.
    data : str, path or sequence of them, default "sample"
        As for `load_datasets`: the training reviews of all are joined, and so are the test reviews.
    train_limit, test_limit : int, optional
        Use this many reviews of each dataset; all if not given.
    epochs : int, default 4
    batch_size : int, default 16
        Of each worker.
    max_length : int, default 256
        Word pieces of a review, [CLS] and [SEP] included; the rest is cut.
    pooling : {"pooler", "cls", "mean"}, optional
        As for `SentimentClassifier.from_pretrained`.
    lr : float, default 1e-4
        The learning rate's peak. The default suits `minilm-l6`; BERT base wants 2e-5 to 5e-5 (section A.3).
    patience : int, optional
        Stop when as many epochs in a row were no better than the best before them, on a tenth of the training reviews,
        however few there are.
    accumulate : int, default 1
        Batches whose gradients make one step.
    layer_decay : float, default 1
        As for `decay_rates`.
    freeze : int, default 0
        As for `freeze_layers`.
    precision : {"float32", "float16", "bfloat16"}
        Of the dense layers in training, as for `set_precision`. The result is scored and saved in float32.
    seed : int, default 1
    cached : bool, default True
        As for `encode_dataset`.
    ctx : mxnet.Context or list of mxnet.Context, optional
        As `choose_device` says if not given.
    output : str or path, optional
        Folder for the result and the unfinished run, which no other run is in. If not given, no file is written.
    resume : bool, default False
        Continue an unfinished run in `output`, with the same settings.
    overwrite : bool, default False
        Replace the run in `output`; its result stays until the new one takes its place.
    workers : Workers, optional
        As for `train_loop`.

    Returns
    -------
    FineTuned

    Raises
    ------
    FetchError, FileNotFoundError, TrainingDivergedError, NotImplementedError, ValueError, OSError
        As for `SentimentClassifier.from_pretrained`, `load_datasets`, `set_precision`, `train_loop` and `RunFolder`.

    Source: Devlin et al. 2018, section A.3.
    """
    with RunFolder(output, settings_of(locals()), resume, overwrite, workers) as folder:
        train, test = load_datasets(data, "train", train_limit), load_datasets(data, "test", test_limit)
        ctx = _prepare(ctx, seed)
        classifier = SentimentClassifier.from_pretrained(pretrained, max_length, ctx, pooling)
        train, valid = _validation(train, None, itemgetter(1), epochs, patience)
        _print_counts(train, valid, test)
        batches = classifier.batches(train, batch_size * workers.size, shuffle=True, cached=cached)
        history = _fit(
            classifier,
            batches,
            valid and classifier.batches(valid, batch_size, cached=cached),
            gluon.loss.SoftmaxCELoss(),
            folder,
            epochs=epochs,
            lr=lr,
            patience=patience,
            accumulate=accumulate,
            layer_decay=layer_decay,
            freeze=freeze,
            precision=precision,
            seed=seed,
            resume=resume,
            workers=workers,
        )
        folder.save(classifier.save)
        test_batches = classifier.batches(test, batch_size * workers.size, cached=cached)
        score = evaluate(classifier.net, test_batches, ctx, workers=workers)
        folder.finish({**score._asdict(), "interval": score.interval}, history, ctx, seed)
    return FineTuned(classifier, history, score)


def finetune_task(
    task,
    data,
    pretrained="minilm-l6",
    *,
    train_limit=None,
    test_limit=None,
    multi_label=False,
    class_weights=False,
    epochs=4,
    batch_size=16,
    max_length=256,
    pooling=None,
    lr=1e-4,
    patience=None,
    accumulate=1,
    layer_decay=1.0,
    freeze=0,
    precision="float32",
    seed=1,
    ctx=None,
    output=None,
    resume=False,
    overwrite=False,
    workers=ALONE,
):
    """Fine-tune a pre-trained BERT for a task of the reader's own: what `bert-tutorial finetune --task` does.

    If the data have no split "valid" or "dev", a tenth of `MINIMUM_FOR_VALIDATION` training examples or more choose the
    best of several epochs.

    Parameters
    ----------
    task : {"classify", "regress", "tag", "answer"}
        What is learned: classes, or a number, for each text or pair of texts; a tag for each word; answers to questions
        about texts.
    data : str, path or sequence of them
        As for `load_examples`, `load_tagged` or `load_questions`.
    multi_label : bool, default False
        For "classify": a text may have several labels, separated by "|", or none.
    class_weights : bool, default False
        For "classify": an example of a rare class counts more, so that all classes count alike.
    pretrained, train_limit, test_limit, epochs, batch_size, max_length, pooling, lr, patience, accumulate, layer_decay
        As for `finetune_reviews`.
    freeze, precision, seed, ctx, output, resume, overwrite, workers
        As for `finetune_reviews`.

    Returns
    -------
    FineTuned

    Raises
    ------
    FetchError, FileNotFoundError, TrainingDivergedError, NotImplementedError, ValueError, OSError
        As for `finetune_reviews` and what loads the data; also for settings that are not of this task.

    Source: Devlin et al. 2018, section 4 and figure 4.
    """
    if task not in TASKS or task == SentimentClassifier.task:
        raise ValueError(
            f"task must be one of {', '.join(name for name in TASKS if name != 'sentiment')}; got {task!r}"
        )
    model = TASKS[task]
    if task != "classify" and (multi_label or class_weights):
        raise ValueError(f"multi_label and class_weights are for the task classify, not for {task}")
    if multi_label and class_weights:
        raise ValueError("class_weights are for texts with one label each, not for multi_label")
    if task in ("tag", "answer") and pooling is not None:
        raise ValueError(f"pooling makes one vector of a whole text: the task {task} reads the encoding of every word")
    own = {"multi_label": multi_label} if task == "classify" else {}
    with RunFolder(output, settings_of(locals()), resume, overwrite, workers) as folder:
        limits = {"train": train_limit, "valid": None, "test": test_limit}
        train, valid, test = (model.read(data, split, limit, **own) for split, limit in limits.items())
        answers = model.answers_of(train, **own)
        ctx = _prepare(ctx, seed)
        fine_tuned = model.from_pretrained(pretrained, max_length, ctx, pooling, **answers)
        fine_tuned.encode(test), fine_tuned.encode(valid)  # what is wrong with them is said before any work is lost
        has_classes = task == "classify" and not multi_label
        class_of = (lambda example: fine_tuned.labels.index(example.label)) if has_classes else None
        train, valid = _validation(train, valid, class_of, epochs, patience)
        _print_counts(train, valid, test)
        weights = {"class_weights": balanced_weights([example.label for example in train])} if class_weights else {}
        history = _fit(
            fine_tuned,
            fine_tuned.batches(train, batch_size * workers.size, shuffle=True),
            valid and fine_tuned.batches(valid, batch_size),
            fine_tuned.loss(**weights),
            folder,
            epochs=epochs,
            lr=lr,
            patience=patience,
            accumulate=accumulate,
            layer_decay=layer_decay,
            freeze=freeze,
            precision=precision,
            seed=seed,
            resume=resume,
            workers=workers,
        )
        if valid:
            fine_tuned.settle(valid, batch_size)
        folder.save(fine_tuned.save)
        score = fine_tuned.score(test, batch_size)
        folder.finish(score, history, ctx, seed)
    return FineTuned(fine_tuned, history, score)


def _prepare(ctx, seed):
    """The device to train on, chosen if none was asked for, and the seed set; both are printed."""
    ctx, reason = choose_device() if ctx is None else (ctx, "as asked")
    print(f"seed {seed}, device {ctx} ({reason})", flush=True)
    seed_everything(seed)
    return ctx


def _validation(train, valid, class_of, epochs, patience):
    """Training examples, and those that choose the best epoch: given, split off, or None if nothing is to be chosen.

    `class_of` gives the number of an example's class, if it has one.
    """
    if valid:
        return train, valid
    if epochs > 1 and (patience or len(train) >= MINIMUM_FOR_VALIDATION):  # one epoch leaves nothing to choose
        return split_off_validation(train, stratify=class_of and [class_of(example) for example in train])
    return train, None


def _print_counts(train, valid, test):
    print(f"{len(train)} texts to train on, {len(valid or [])} for validation, {len(test)} for the test", flush=True)


def _fit(
    model,
    train,
    valid,
    loss_fn,
    folder,
    *,
    epochs,
    lr,
    patience,
    accumulate,
    layer_decay,
    freeze,
    precision,
    seed,
    resume,
    workers,
):
    """Train a TaskModel on batches; the history."""
    set_precision(model.net, precision)
    decay_rates(model.net.bert, layer_decay)
    freeze_layers(model.net.bert, freeze)
    folder.begin()
    history = train_loop(
        model.net,
        train,
        None,
        epochs,
        lr,
        model.ctx,
        loss_fn,
        recipe=Recipe(accumulate=accumulate),
        valid_data=valid,
        patience=patience,
        seed=seed,
        checkpoint=folder.checkpoint,
        resume=resume,
        settings={**folder.settings, "pooling": model.reads, "workers": workers.size},
        workers=workers,
    )
    set_precision(model.net, "float32")
    return history
