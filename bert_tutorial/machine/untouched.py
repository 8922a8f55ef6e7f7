"""Whether a Gluon block is still what its class made it: only then may a faster form stand in for it unseen."""


def is_untouched(block, kind, **parts):
    """Whether a block, with these parts in it, computes what its class says and nobody watches it.

    Parameters
    ----------
    block : mxnet.gluon.Block
    kind : type
        The class it must be of; a class derived from it may compute something else.
    **parts : type
        By name, the classes of blocks inside.
    """
    return (
        type(block) is kind
        and not (block._forward_hooks or block._forward_pre_hooks)
        and not vars(block).keys() & {"forward", "hybrid_forward"}
        and getattr(block, "_axis", -1) == -1  # of a LayerNorm: along another axis than the last
        and not getattr(block, "_axes", ())  # of a Dropout: elements that share their fate
        and 0 <= getattr(block, "_rate", 0) < 1  # the same
        and all(is_untouched(getattr(block, name), part) for name, part in parts.items())
    )
