"""What tests of several figures and diagrams ask of one."""


def written(figure):
    """The words and numbers written into the figure's first axes, in order."""
    return [text.get_text() for text in figure.axes[0].texts]
