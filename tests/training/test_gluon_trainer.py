"""The optimiser's steps."""

from bert_tutorial import Recipe
from bert_tutorial.training.gluon_trainer import BERTTrainer, mark_gradient

import mxnet as mx
import numpy as np
from adamw import adamw
from hypothesis import given
from hypothesis import strategies as st
from mxnet import gluon
from mxnet.contrib.amp.loss_scaler import LossScaler

ROUND = st.integers(-80, 80).map(lambda number: number / 8)  # what float32 holds exactly


@st.composite
def steps_of_a_run(draw):
    """For each step its gradient, its rate, whether it overflows, and whether the run is resumed before it."""
    gradients, rates = st.tuples(ROUND, ROUND, ROUND), st.floats(1e-4, 0.1)
    return draw(st.lists(st.tuples(gradients, rates, st.booleans(), st.booleans()), min_size=5, max_size=12))


@given(
    st.builds(
        Recipe,
        weight_decay=st.floats(0, 1),
        epsilon=st.floats(1e-8, 1),
        beta2=st.floats(0.5, 0.999),
        bias_correction=st.booleans(),
    ),
    steps_of_a_run(),
)
def test_steps_are_those_of_adamw_whatever_is_skipped_or_resumed(recipe, steps):
    parameter = gluon.Parameter("weight", shape=(3,))
    parameter.initialize(mx.init.Constant(2), ctx=[mx.cpu(0), mx.cpu(1)])
    start, trainer = parameter.list_data()[0].asnumpy(), make_trainer(parameter, recipe)
    for gradient, rate, overflows, resumes in steps:
        if resumes:
            means, taken = trainer.means(), trainer.steps_taken
            trainer = make_trainer(parameter, recipe)
            trainer.restore(means, taken)
        for array in parameter.list_grad():
            array[:] = np.array(gradient) + (np.inf if overflows else 0)
        mark_gradient(parameter, fresh=True)
        trainer.step(rate, 0.5)
    taken = [(np.array(gradient) / 2, rate) for gradient, rate, overflows, _ in steps if not overflows]
    assert trainer.steps_taken == len(taken)
    expected = adamw(start, [gradient for gradient, _ in taken], [rate for _, rate in taken], recipe)
    for found in parameter.list_data():
        np.testing.assert_allclose(found.asnumpy(), expected, atol=2e-5)


def make_trainer(parameter, recipe):
    return BERTTrainer({"weight": parameter}, recipe, None, LossScaler())
