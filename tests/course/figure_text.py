"""What several tests of figures ask of a figure."""


def written(figure):
    """The words and numbers written into the figure's first axes, in order."""
    return [text.get_text() for text in figure.axes[0].texts]
