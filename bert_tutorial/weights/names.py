"""The names of BERT's parameters: Hugging Face's, ours, GluonNLP's."""

# Hugging Face's name, ours, GluonNLP's; of a block with a weight and a bias both are meant.
OURS, GLUONNLP = 1, 2  # columns of these tables
EMBEDDING_NAMES = [
    ("embeddings.word_embeddings.weight", "encoder.word_embed.weight", "word_embed.0.weight"),
    ("embeddings.position_embeddings.weight", "encoder.pos_encoding.weight", "encoder.position_weight"),
    ("embeddings.token_type_embeddings.weight", "encoder.segment_embed.weight", "token_type_embed.0.weight"),
    ("embeddings.LayerNorm", "encoder.norm", "encoder.layer_norm"),
    ("pooler.dense", "pooler", "pooler"),
]
LAYER_NAMES = [
    ("attention.self.query", "attention.W_q", "attention_cell.proj_query"),
    ("attention.self.key", "attention.W_k", "attention_cell.proj_key"),
    ("attention.self.value", "attention.W_v", "attention_cell.proj_value"),
    ("attention.output.dense", "attention.W_o", "proj"),
    ("attention.output.LayerNorm", "addnorm1.norm", "layer_norm"),
    ("intermediate.dense", "ffn.dense1", "ffn.ffn_1"),
    ("output.dense", "ffn.dense2", "ffn.ffn_2"),
    ("output.LayerNorm", "addnorm2.norm", "ffn.layer_norm"),
]
HEAD_NAMES = [  # ours: in an MLMDecoder and an NSClassifier; GluonNLP's: in its BERTModel
    ("cls.predictions.transform.dense", "decoder.0", "decoder.0"),
    ("cls.predictions.transform.LayerNorm", "decoder.2", "decoder.2"),
    ("cls.predictions.bias", "decoder.3.bias", "decoder.3.bias"),
    ("cls.seq_relationship", "classifier.1", "classifier"),
]
NS_NAMES = ("cls.seq_relationship.weight", "cls.seq_relationship.bias")  # two-way there, one logit here
COPIES = {  # some files hold a tensor twice
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
REDUNDANT = {*COPIES, "embeddings.position_ids"}  # the latter: 0, 1, 2, ... in old files
PRETRAINING_HEADS = "cls."  # beginnings of names
OWN_HEADS = ("cls_classifier.", "mean_classifier.")  # Hugging Face's loaders would put "classifier." on the pooler
HEADS = (PRETRAINING_HEADS, "classifier.", "qa_outputs.", *OWN_HEADS)


def bert_parameters(bert, num_layers, column):
    """Hugging Face's name, without `bert.`, -> parameter of a BERTModel, ours or GluonNLP's."""
    return _parameters(bert, bert_names(num_layers, column))


def head_parameters(ns_classifier, mlm_decoder):
    """Hugging Face's name -> parameter, for those of both heads that are not BERT's own."""
    own = mlm_decoder._collect_params_with_prefix() | ns_classifier._collect_params_with_prefix()
    return {theirs: own[name] for theirs, name in tensor_names(HEAD_NAMES, OURS)}


def pretraining_parameters(net):
    """Hugging Face's name, without `bert.`, -> parameter of a BERTForPreTraining; shared ones come once."""
    bert = bert_parameters(net.bert, len(net.bert.encoder.blks), OURS)
    return bert | head_parameters(net.ns_classifier, net.mlm_decoder)


def network_parameters(net, head):
    """Name in a file, without `bert.`, -> parameter of our BERTModel, `net.bert`, and of the layer on it.

    The names are Hugging Face's.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Its last layer is `net.classifier`.
    head : str
        What that layer is called in the file.

    Raises
    ------
    ValueError
        It has other parameters than that: it was quantized, or a block was put in the place of one of its own.
    """
    names = {theirs: f"bert.{own}" for theirs, own in bert_names(len(net.bert.encoder.blks), OURS).items()}
    names |= {f"{head}.{kind}": f"classifier.{kind}" for kind in ("weight", "bias")}
    differing = sorted(set(net._collect_params_with_prefix()) ^ set(names.values()))
    if differing:
        raise ValueError(f"only the parameters of a BERT can be saved; differing: {', '.join(differing)}")
    return _parameters(net, names)


def normalize_name(name):
    """A published tensor's name, without `bert.`, and with the LayerNorm parameters called weight and bias."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def tensor_names(table, column):
    """Yield (Hugging Face's name, name in `column`) for every tensor of a table."""
    for row in table:
        theirs, own = row[0], row[column]
        if theirs.endswith((".weight", ".bias")):
            yield theirs, own
        elif theirs.endswith("LayerNorm"):
            yield f"{theirs}.weight", f"{own}.gamma"
            yield f"{theirs}.bias", f"{own}.beta"
        else:
            yield f"{theirs}.weight", f"{own}.weight"
            yield f"{theirs}.bias", f"{own}.bias"


def bert_names(num_layers, column):
    """Hugging Face's name -> ours or GluonNLP's, for the encoder and the pooler."""
    names = dict(tensor_names(EMBEDDING_NAMES, column))
    blocks = {OURS: "encoder.blks", GLUONNLP: "encoder.transformer_cells"}[column]
    for i in range(num_layers):
        for theirs, own in tensor_names(LAYER_NAMES, column):
            names[f"encoder.layer.{i}.{theirs}"] = f"{blocks}.{i}.{own}"
    return names


def _parameters(block, names):
    """Hugging Face's name -> parameter, for a block and a dict from Hugging Face's names to the block's."""
    own = block._collect_params_with_prefix()
    return {theirs: own[name] for theirs, name in names.items()}
