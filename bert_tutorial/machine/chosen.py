"""What was found and chosen as MXNet loaded, for `bert-tutorial doctor` to show."""

from dataclasses import dataclass, field


@dataclass
class Chosen:
    """What `runtime.prepare` settled, and why."""

    threads: int = 0
    threads_chosen_by: str = ""
    blas_kernels: str = ""
    blas_chosen_by: str = ""
    arm_libraries: str = ""  # what stands in for Arm's own libraries, where MXNet needs them
    own_variables: list = field(default_factory=list)  # of the environment, set by us and not by the user
    lost: list = field(default_factory=list)  # what could not be set any more, and the remedy


chosen = Chosen()
