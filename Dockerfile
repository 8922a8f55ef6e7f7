# The course in a container: make image, then docker run --rm -it -p 8888:8888 bert-tutorial
# The address that JupyterLab prints, with its token, opens in a browser. Built on the machine that runs it, the slow
# parts of BERT are compiled for its CPU; on another one they are compiled anew when it starts.
FROM debian:12.11-slim

# git: to commit from JupyterLab; the compilers are for GluonNLP and for BERT's own operators, and bring the libraries
# that MXNet needs, libgomp1 and on x86-64 libquadmath0
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates g++ gcc git make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 reader
USER reader
WORKDIR /home/reader/bert_tutorial
COPY --chown=reader . .
RUN make venv && rm -rf /home/reader/.cache/pip

# Weights to put into the image, so that it needs no network: --build-arg WEIGHTS=minilm-l6
ARG WEIGHTS=""
RUN if [ -n "$WEIGHTS" ]; then .venv/bin/bert-tutorial fetch $WEIGHTS; fi

ENV PATH=/home/reader/bert_tutorial/.venv/bin:$PATH
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "notebooks"]
