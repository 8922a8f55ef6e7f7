"""The orchestrator: `make bench`, or `.venv/bin/python -m benchmarks.bench --help`. See README.md."""

import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

import click

from .report import MISSING, logits_difference, ratio, table
from .workers import FEW_PAIRS, ROOT, RowError, Side, Worker, ask_once, measure, measure_apart

MINILM, BASE = "MiniLM-L6", "BERT-base"
SHAPES = [(model, batch, length) for model in (MINILM, BASE) for batch, length in ((8, 128), (32, 128), (32, 512))]
QUICK_SHAPES = [(MINILM, 32, 128), (BASE, 8, 128)]
# Bytes that the peer needs: MiniLM's as measured; BERT-base's is more than the 24 GB where it was tried
TRAINING_MEMORY = {(MINILM, 32, 512): 12e9, (BASE, 32, 512): 30e9}
INT8_SHAPES = [(MINILM, 32, 128), (BASE, 8, 128)]
NOT_NEEDED = 5 / 6  # of the last block's products: [CLS] needs the keys and values of all positions, and nothing else
SEED_SHAPE = (MINILM, 32, 128)
MINILM_SIZES = {"units": 384, "hidden_size": 1536, "num_heads": 12}
BASE_SIZES = {"units": 768, "hidden_size": 3072, "num_heads": 12, "num_layers": 12}
TOLERANCE = 1e-4  # between the logits of two sides
TOKENISE_LENGTH = 128
SAMPLE_RECIPE = {"epochs": 4, "batch_size": 16, "max_length": 256, "lr": 3e-5}  # as `finetune`, but for the rate
IMDB_RECIPE = {"epochs": 1, "batch_size": 32, "max_length": 128, "lr": 5e-5}
IMDB_LIMITS = {"train_limit": 2000, "test_limit": 1000}
MAX_SEEDS = 2  # of fine-tuning

OURS = Side(sys.executable, "benchmarks.ours")
# What a reader of the seed had: nothing set
SEED = Side(sys.executable, "benchmarks.seed", {"OMP_NUM_THREADS": None, "OPENBLAS_CORETYPE": None})
PEER_ENVIRONMENT = ROOT / ".venv-peer"
PEER_REQUIREMENTS = Path(__file__).with_name("requirements-peer.txt")


class Bench:
    """What all tables share: sides, checkpoints, reviews, and the rows that failed."""

    def __init__(self, folder, pairs, quick, imdb, with_peer):
        self.folder, self.pairs, self.quick, self.imdb = folder, pairs, quick, imdb
        self.failures = []
        self.numbers = count()
        self.machine = self.ask(OURS, job="describe")
        threads = {"OMP_NUM_THREADS": str(self.machine["threads"])}
        self.peer = Side(str(PEER_ENVIRONMENT / "bin/python"), "benchmarks.peer", threads) if with_peer else None
        self.checkpoints = {MINILM: self.ask(OURS, job="fetch", name="minilm-l6")["folder"]}

    def ask(self, side, **job):
        """One answer of one process."""
        return ask_once(side, self.folder / "ask.log", **job)

    def measure(self, jobs, check=None, apart=False):
        """As `workers.measure`, or as `measure_apart`; a side that is None does not run."""
        jobs = {name: (side, job) for name, (side, job) in jobs.items() if side}
        if apart:
            return measure_apart(jobs, self.folder, min(self.pairs, FEW_PAIRS))
        return measure(jobs, self.folder, self.pairs, check)

    def random_checkpoint(self, **sizes):
        """Folder of random weights, with MiniLM's vocabulary."""
        folder = str(self.folder / f"checkpoint{next(self.numbers)}")
        vocabulary = f"{self.checkpoints[MINILM]}/vocab.txt"
        self.ask(OURS, job="random_checkpoint", folder=folder, vocabulary=vocabulary, **sizes)
        return folder

    def checkpoint(self, model):
        """Folder of the weights of a model of `SHAPES`."""
        if model not in self.checkpoints:
            self.checkpoints[model] = self.random_checkpoint(**BASE_SIZES)
        return self.checkpoints[model]

    def reviews(self):
        """File of reviews, and how many it has of each split."""
        path = str(self.folder / "reviews.json")
        data, limits = (self.imdb, IMDB_LIMITS) if self.imdb else ("sample", dict.fromkeys(IMDB_LIMITS))
        return path, self.ask(OURS, job="reviews", data=data, path=path, **limits)

    def rows(self, row, settings):
        """`row(*setting)` for each setting that does not fail."""
        done = []
        for setting in settings:
            with self.noting_failure(f"{row.__name__} {' '.join(map(str, setting))}"):
                done.append(row(*setting))
        return done

    @contextmanager
    def noting_failure(self, label):
        """Tell what is under way, and that it failed; let the rest go on."""
        click.echo(f"... {label}", err=True)
        try:
            yield
        except RowError as error:
            self.failures.append(f"{label}: {error}")
            click.echo(self.failures[-1], err=True)


def check_logits(answers):
    """RowError unless all sides computed the same."""
    difference = logits_difference(answers)
    if not difference <= TOLERANCE:  # also true of NaN
        raise RowError(f"the logits differ by {difference:.1e}, more than {TOLERANCE:.0e}")


def describe(bench):
    """The machine, the versions and the threads."""
    machine = bench.machine
    sides = {"ours": machine}
    if bench.peer:
        sides["peer"] = bench.ask(bench.peer, job="describe")
    lines = [f"{machine['cpu']}, {machine['cores']} physical cores, {' '.join(machine['instruction_sets'])}"]
    for name, side in sides.items():
        versions = ", ".join(f"{package} {version}" for package, version in side["versions"].items())
        lines.append(f"{name}: {versions}; {side['threads']} threads, {side['kernels']} kernels")
    yield "\n".join(f"- {line}" for line in lines)


def steps(bench):
    """Training steps and predictions, against the peer and the machine's limit."""
    predictions, trainings, left_out = [], [], []
    memory = bench.machine["available_memory"]

    def shape(model, batch, length):
        arguments = {"folder": bench.checkpoint(model), "batch_size": batch, "length": length}
        for job, rows in (("predict", predictions), ("train", trainings)):
            needed = TRAINING_MEMORY.get((model, batch, length), 0) if job == "train" else 0
            if needed > memory:
                left_out.append(f"{model} {batch} x {length}")
                continue
            sides = {"ours": OURS, "peer": bench.peer}
            jobs = {name: (side, {"job": job, **arguments}) for name, side in sides.items()}
            jobs["limit"] = (OURS, {"job": "limit", "training": job == "train", **arguments})
            check = check_logits if job == "predict" else None
            done = bench.measure(jobs, check, apart=1.5 * needed > memory)  # ours needs less than half

            cells = [
                f"{model} {batch} x {length}",
                *(done.milliseconds(side) for side in sides),
                done.ratio("peer"),
                *(done.per_second(side, batch * length) for side in sides),
                *(done.megabytes(side) for side in sides),
                f"{(done.answers['limit']['layers'] - NOT_NEEDED) * done.share('limit'):.2f}",
            ]
            if job == "predict":
                cells.append(f"{logits_difference(done.answers):.0e}" if bench.peer else MISSING)
            rows.append(cells)

    bench.rows(shape, QUICK_SHAPES if bench.quick else SHAPES)
    header = ["batch x length", "ours ms", "peer ms", "peer / ours", "ours tokens/s", "peer tokens/s"]
    header += ["ours MB", "peer MB", "matrix products / ours"]
    yield "### Training step"
    yield "Forward, loss, backward, clipping to norm 1, AdamW; dropout 0.1."
    yield table(header, trainings)
    if left_out:
        yield f"Left out, for {memory / 1e9:.0f} GB of free memory are too little: {', '.join(left_out)}."
    yield "### Prediction"
    yield table([*header, "largest difference of logits"], predictions)


def int8(bench):
    """Predictions with int8 matrix products, against the peer's fp32."""

    def shape(model, batch, length):
        job = {"job": "predict", "folder": bench.checkpoint(model), "batch_size": batch, "length": length}
        sides = {"int8": (OURS, {**job, "quantize": True}), "ours": (OURS, job), "peer": (bench.peer, job)}
        done = bench.measure(sides)
        return [
            f"{model} {batch} x {length}",
            *(done.milliseconds(side) for side in sides),
            done.ratio("peer", "int8"),
            f"{logits_difference(done.answers):.0e}",
        ]

    header = ["batch x length", "int8 ms", "ours ms", "peer ms", "peer / int8", "largest difference of logits"]
    yield "### Prediction in int8"
    yield table(header, bench.rows(shape, INT8_SHAPES))


def seed(bench):
    """The seed's own way, against ours and the peer."""
    model, batch, length = SEED_SHAPE
    parameters = str(bench.folder / "gluonnlp.params")
    bench.ask(OURS, job="gluonnlp_parameters", folder=bench.checkpoint(model), path=parameters)

    def way(what, job):
        job = {"job": job, "folder": bench.checkpoint(model), "batch_size": batch, "length": length}
        sides = {"ours": (OURS, job), "seed": (SEED, job | {"parameters": parameters}), "peer": (bench.peer, job)}
        done = bench.measure(sides, check_logits if job["job"] == "predict" else None)
        return [what, *(done.milliseconds(side) for side in sides), done.ratio("seed"), done.ratio("peer")]

    yield "### The seed's own way"
    yield f"GluonNLP's BERTModel, not hybridized, none of our settings; {model} {batch} x {length}."
    header = ["what", "ours ms", "seed's way ms", "peer ms", "seed's way / ours", "peer / ours"]
    yield table(header, bench.rows(way, [("training step", "train"), ("prediction", "predict")]))


def finetune(bench):
    """Fine-tuning from texts to accuracy."""
    texts, counts = bench.reviews()
    recipe = IMDB_RECIPE if bench.imdb else SAMPLE_RECIPE
    sides = {name: side for name, side in (("ours", OURS), ("peer", bench.peer)) if side}

    def run(seed):
        job = {"job": "finetune", "folder": bench.checkpoint(MINILM), "texts": texts, "seed": seed, **recipe}
        answers = {name: bench.ask(side, **job) for name, side in sides.items()}
        tokens = {name: answer["tokens"] for name, answer in answers.items()}
        if len(set(tokens.values())) > 1:
            raise RowError(f"not the same tokens: {tokens}")
        return answers

    runs = bench.rows(run, [(seed,) for seed in range(1, min(bench.pairs, MAX_SEEDS) + 1)])
    yield "### Fine-tuning, end to end"
    yield (
        f"{MINILM}, {counts['train']} reviews to train on and {counts['test']} to test on, "
        f"{', '.join(f'{key} {value}' for key, value in recipe.items())}. Seconds: weights, tokens, training, test."
    )
    rows = []
    for name in sides if runs else []:
        done = [run[name] for run in runs]
        rows.append(
            [
                name,
                f"{median(run['seconds'] for run in done):.1f}",
                ratio([run[name]["seconds"] for run in runs], [run["ours"]["seconds"] for run in runs]),
                f"{median(run['tokens'] / run['training_seconds'] for run in done):.0f}",
                ", ".join(f"{run['accuracy']:.3f}" for run in done),
                f"{max(run['peak_memory'] for run in done) / 1e6:.0f}",
            ]
        )
    header = ["side", "seconds", "side / ours", "tokens/s in training", "accuracy, seed by seed", "MB"]
    yield table(header, rows)


def tokenise(bench):
    """Tokenising reviews."""
    texts, counts = bench.reviews()
    total = sum(counts.values())

    def check(answers):
        ours = answers["ours"]["ids"]
        for name, answer in answers.items():
            different = sum(a != b for a, b in zip(ours, answer["ids"], strict=True))
            if different:
                raise RowError(f"{name} gives other ids for {different} of {total} reviews")

    job = {"job": "tokenise", "folder": bench.checkpoint(MINILM), "texts": texts, "max_length": TOKENISE_LENGTH}
    sides = {
        "ours": (OURS, job),
        "GluonNLP's BERTTokenizer": (OURS, job | {"tokenizer": "gluonnlp"}),
        "peer": (bench.peer, job),
    }
    done = bench.measure(sides, check)
    yield "### Tokenising"
    yield f"{total} reviews, max length {TOKENISE_LENGTH}; the peer is `tokenizers`, by its batch call, on all cores."
    yield table(
        ["side", "reviews/s", "side / ours, in time"],
        [[name, done.per_second(name, total), done.ratio(name)] for name in sides],
    )


def start(bench):
    """How long it takes to start."""
    sides = {"ours": OURS}
    imports = [
        (OURS.python, "import bert_tutorial"),
        (OURS.python, "import numpy; numpy.bool = numpy.bool_; import mxnet"),
    ]
    if bench.peer:
        sides["peer"] = bench.peer
        imports.append((bench.peer.python, "import torch, transformers"))

    def first_prediction(side):
        job = {"job": "first_prediction", "folder": bench.checkpoint(MINILM)}
        with Worker(side, job, bench.folder / "start.log") as worker:
            worker.receive()
            return time.perf_counter() - worker.started

    seconds = {}
    for _ in range(bench.pairs + 1):  # the first time reads from the disk
        for python, code in imports:
            seconds.setdefault(f"`{code}`", []).append(import_seconds(python, code))
        for name, side in sides.items():
            seconds.setdefault(f"first prediction, {name}", []).append(first_prediction(side))
    yield "### Start"
    yield f"From the start of a process; first prediction: weights of {MINILM} loaded, one sentence classified."
    yield table(["until", "seconds"], [[name, f"{median(times[1:]):.2f}"] for name, times in seconds.items()])


def import_seconds(python, code):
    """Seconds from the start of a process until it has run `code`."""
    start = time.perf_counter()
    with subprocess.Popen([python, "-c", f"{code}\nprint(flush=True)"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        if not process.stdout.readline():
            raise RowError(f"{code} failed")
        return time.perf_counter() - start


def scaling(bench):
    """Our training step as one size changes."""
    by_layers = {n: bench.random_checkpoint(**MINILM_SIZES, num_layers=n) for n in range(1, 7)}

    def step(what, value, batch, length, layers=6, threads=None):
        side = Side(OURS.python, OURS.module, {"OMP_NUM_THREADS": str(threads)} if threads else {})
        job = {"job": "train", "folder": by_layers[layers], "batch_size": batch, "length": length}
        done = measure({"ours": (side, job)}, bench.folder, FEW_PAIRS, block_seconds=1)
        setting = [f"{batch} x {length}", layers, threads or bench.machine["threads"]]
        return [what, value, *setting, done.milliseconds("ours"), done.per_second("ours", batch * length)]

    settings = [("length", length, 8, length) for length in (64, 128, 256, 512)]
    settings += [("batch", batch, batch, 128) for batch in (1, 8, 32, 64)]
    settings += [("layers", layers, 32, 128, layers) for layers in by_layers]
    cores = bench.machine["cores"]
    settings += [("threads", n, 32, 128, 6, n) for n in (1, 2, 4, 8, 16, 32, 64) if n <= cores]
    yield "### Scaling of our training step"
    yield f"{MINILM}'s shape, random weights."
    header = ["varied", "to", "batch x length", "layers", "threads", "ms", "tokens/s"]
    yield table(header, bench.rows(step, settings))


TABLES = {f.__name__: f for f in (steps, int8, seed, finetune, tokenise, start, scaling)}
QUICK_TABLES = ("steps", "tokenise", "start")


def prepare_peer():
    """Make `.venv-peer`, or leave it alone when it is ready."""
    ready, wanted = PEER_ENVIRONMENT / "ready", PEER_REQUIREMENTS.read_text()
    if ready.exists() and ready.read_text() == wanted:
        return
    click.echo("Making .venv-peer with PyTorch and transformers: some minutes, this once ...", err=True)
    pip = [str(PEER_ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER_ENVIRONMENT)], check=True)
        subprocess.run([*pip, "-r", str(PEER_REQUIREMENTS)], check=True)
    except (OSError, subprocess.CalledProcessError):
        raise click.ClickException(
            "the peer's environment, .venv-peer, could not be installed (see above; it needs the network, this once). "
            "Run again, or measure ours alone: make bench BENCH=--without-peer"
        ) from None
    ready.write_text(wanted)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("tables", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]...")
@click.option("--quick", is_flag=True, help=f"Two shapes, three pairs, and only {', '.join(QUICK_TABLES)}.")
@click.option("--pairs", type=click.IntRange(1), help="Blocks of each side for a row.  [default: 5; quick: 3]")
@click.option(
    "--imdb",
    type=click.Path(exists=True, resolve_path=True),
    help="Reviews in aclImdb's layout, instead of the shipped ones.",
)
@click.option("--without-peer", is_flag=True, help="Measure ours alone; needs no .venv-peer.")
def main(tables, quick, pairs, imdb, without_peer):
    """Print TABLEs, by default all of them: steps, int8, seed, finetune, tokenise, start, scaling."""
    if not without_peer:
        prepare_peer()
    tables = tables or (QUICK_TABLES if quick else tuple(TABLES))
    with tempfile.TemporaryDirectory() as folder:
        try:
            bench = Bench(Path(folder), pairs or (3 if quick else 5), quick, imdb, not without_peer)
            for part in (describe, *(TABLES[name] for name in tables)):
                with bench.noting_failure(part.__name__):
                    for text in part(bench):
                        click.echo(f"{text}\n")
        except RowError as error:
            raise click.ClickException(str(error)) from None
    if bench.failures:
        raise click.ClickException("\n".join(bench.failures))


if __name__ == "__main__":
    main()
