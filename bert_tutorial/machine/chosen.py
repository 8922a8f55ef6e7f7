"""What was found and chosen as MXNet loaded, for `bert-tutorial doctor` to show."""

from dataclasses import dataclass, field


@dataclass
class Chosen:
    """What `prepare` found and chose."""

    threads: int = 0
    threads_chosen_by: str = ""
    blas_kernels: str = ""
    blas_chosen_by: str = ""
    own_variables: list = field(default_factory=list)  # of the environment, set by us and not by the user
    lost: list = field(default_factory=list)


chosen = Chosen()
