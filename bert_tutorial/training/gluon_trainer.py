"""What we need of Gluon that it keeps to itself, in one place."""


def has_fresh_gradient(parameter):
    """Whether a backward pass has written it since the last step, on any device."""
    return any(data._fresh_grad for data in parameter.list_data())


def mark_gradient(parameter, fresh):
    """Tell Gluon's trainer whether to take the parameter's step."""
    for data in parameter.list_data():
        data._fresh_grad = fresh
