"""A plan on paper for many GPUs: bytes a step, and when they cost more than computing. python -m benchmarks.plan

Nothing is measured here. Each machine adds up its GPUs' gradients first, then all machines exchange one copy.
"""

from math import prod

from bert_tutorial import BERTModel

MODELS = {"minilm-l6": (384, 6), "bert-base": (768, 12)}  # units, layers
MACHINES, GPUS = 8, 8
BATCH_SIZE, LENGTH = 32, 128  # of a GPU
BANDWIDTHS = (1, 10, 25, 100)  # Gbit/s of each machine, in each direction
# A100, by its data sheet; half of it for fp32, a quarter for fp16, whose matrices wait for the rest
SPEEDS = {"fp32": 19.5e12 / 2, "fp16": 312e12 / 4}
BYTES = 4  # of a gradient: also in mixed precision it is exchanged in fp32


def multiplications(units, layers):
    """Floating-point operations of a step on one GPU: forward, and twice as many backward."""
    return 3 * layers * BATCH_SIZE * LENGTH * (24 * units**2 + 4 * LENGTH * units)


def parameters(units, layers):
    """Of a BERT with the published vocabulary."""
    bert = BERTModel(30522, units, 4 * units, units // 64, layers, 0.1)
    return sum(prod(parameter.shape) for parameter in bert.collect_params().values())


def sent(size, servers, compression=1):
    """Bytes that the busiest machine sends in a step: as a worker to the other servers, as a server to the others."""
    to_servers = size * (servers - 1) / servers / compression
    return to_servers + size * (MACHINES - 1) / servers


def main():
    """Print the tables."""
    ways = {
        "1 server": {"servers": 1},
        f"{MACHINES} servers, or Horovod's ring": {"servers": MACHINES},
        f"{MACHINES} servers, gradients pushed in 2 bits": {"servers": MACHINES, "compression": 16},
    }
    print(f"{MACHINES} machines with {GPUS} A100 each; {BATCH_SIZE} x {LENGTH} word pieces a GPU and step\n")
    for name, shape in MODELS.items():
        size = parameters(*shape) * BYTES
        computing = {kind: multiplications(*shape) / speed for kind, speed in SPEEDS.items()}
        print(f"**{name}**: gradients of {size / 1e6:.0f} MB; computing a step takes ", end="")
        print(" or ".join(f"{1000 * seconds:.0f} ms ({kind})" for kind, seconds in computing.items()) + ".\n")
        print("| network | " + " | ".join(ways) + " |\n| --- |" + " --- |" * len(ways))
        for gigabits in BANDWIDTHS:
            cells = []
            for way in ways.values():
                seconds = sent(size, **way) / (gigabits * 1e9 / 8)
                shares = ", ".join(f"{c / (c + seconds):.0%} {kind}" for kind, c in computing.items())
                cells.append(f"{1000 * seconds:.0f} ms ({shares})")
            print(f"| {gigabits} Gbit/s | " + " | ".join(cells) + " |")
        print()


if __name__ == "__main__":
    main()
