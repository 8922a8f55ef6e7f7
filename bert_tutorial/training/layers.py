"""Lower layers learn less, or nothing: what they know of language suits most tasks as it is."""


def decay_rates(bert, decay):
    """Give each layer `decay` times the learning rate of the one above it; the head's own is the full one.

    Parameters
    ----------
    bert : BERTModel
    decay : float
        1 leaves all rates alike. The embeddings are the lowest layer.

    Source: Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", section 5.3.4; Clark et al. 2020,
    "ELECTRA", appendix B.
    """
    layers = [[bert.pooler], *([blk] for blk in reversed(list(bert.encoder.blks))), _embeddings(bert)]  # from the top
    depths = [1, *range(1, len(layers))]  # the pooler is as near to the head as the last block
    for depth, layer in zip(depths, layers, strict=True):
        for block in layer:
            block.collect_params().setattr("lr_mult", decay**depth)


def freeze_layers(bert, count):
    """Leave the embeddings and the lowest layers as they are.

    Parameters
    ----------
    bert : BERTModel
    count : int
        Blocks, beside the embeddings; 0 leaves nothing as it is.

    Raises
    ------
    ValueError
        There are fewer blocks.
    """
    blks = list(bert.encoder.blks)
    if not 0 <= count <= len(blks):
        raise ValueError(f"freeze must lie between 0 and {len(blks)}, the layers of this BERT; got {count}")
    for block in (*_embeddings(bert), *blks[:count]) if count else ():
        block.collect_params().setattr("grad_req", "null")


def _embeddings(bert):
    encoder = bert.encoder
    return [encoder.word_embed, encoder.segment_embed, encoder.pos_encoding, encoder.norm]
