"""One process, one environment: this course beside PyTorch, transformers and pandas, whoever is imported first."""

import importlib.util
import subprocess
import sys

import pytest

IMPORT_OURS = "import bert_tutorial, mxnet as mx, d2l.mxnet, gluonnlp"

TRAIN = """
import numpy as np

folder = sys.argv[1]
bert, _ = bert_tutorial.load_pretrained(folder)
classifier = bert_tutorial.BERTClassifier(bert, 2)
classifier.initialize()
words, lengths, labels = np.array([[2, 9, 8, 3], [2, 7, 3, 0]]), np.array([4, 3]), np.array([0, 1])


def predict():
    return bert(mx.nd.array(words), mx.nd.zeros((2, 4)), mx.nd.array(lengths))[0].asnumpy()


before, trainer = predict(), mx.gluon.Trainer(classifier.collect_params(), "adam", {"learning_rate": 0.01})
for _ in range(5):
    with mx.autograd.record():
        logits = classifier(mx.nd.array(words), mx.nd.zeros((2, 4)), mx.nd.array(lengths))
        loss = mx.gluon.loss.SoftmaxCELoss()(logits, mx.nd.array(labels)).mean()
    loss.backward()
    trainer.step(1)
assert np.abs(predict() - before).max() > 0.01
assert pandas.DataFrame({"label": labels, "logit": logits.asnumpy()[:, 0]}).logit.notna().all()
"""

COMPARE = """
theirs = transformers.BertModel.from_pretrained(folder).eval()
mask = torch.arange(4)[None] < torch.tensor(lengths)[:, None]
optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01)
for step in range(5):
    encoded = theirs(torch.tensor(words), mask).last_hidden_state
    if step == 0:
        assert np.abs((encoded.detach().numpy() - before)[mask.numpy()]).max() < 1e-4
    encoded[:, 0].square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
assert torch.isfinite(encoded).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("theirs", ["pandas", "pandas, transformers", "pandas, torch, transformers"])
def test_training_beside(tiny_checkpoint, theirs, first):
    for package in theirs.split(", "):
        if not importlib.util.find_spec(package):
            pytest.skip(f"{package} is not installed")
    imports = [IMPORT_OURS, f"import {theirs}"]
    steps = [
        "import sys",
        *(imports if first == "ours" else imports[::-1]),
        TRAIN,
        COMPARE if "torch" in theirs else "",
    ]
    command = [sys.executable, "-c", "\n".join(steps), tiny_checkpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
