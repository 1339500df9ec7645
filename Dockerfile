# An image of the checkout with its environment, for a CPU or for NVIDIA GPUs.
#
#   docker build -t mgnm-tf .
#   docker build -t mgnm-tf:gpu --build-arg BASE=nvidia/cuda:12.2.2-cudnn8-runtime-ubuntu22.04 .
#   docker run --rm -it -v "$PWD/runs:/mgnm/runs" mgnm-tf make reproduce-table2
#   docker run --rm -it --gpus all mgnm-tf:gpu make test-gpu
#
# The CUDA image has CUDA 12.2 and cuDNN 8.9, which TensorFlow 2.15 was built with, and
# Ubuntu's Python 3.10. The newest TensorFlow asks for another CUDA, which it can bring
# itself: --build-arg BASE=python:3.12-slim --build-arg GPU=yes.
#
# No image has been built from this file where it was written: there was no Docker.
ARG BASE=python:3.11-slim
FROM ${BASE}

# `2.15` or `latest`; empty: by the image's Python.
ARG TENSORFLOW=
# Not empty: CUDA comes from PyPI, with TensorFlow.
ARG GPU=

ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       ca-certificates git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /mgnm
# With .git, so that passports name the commit.
COPY . .
RUN make setup TENSORFLOW="${TENSORFLOW}" \
    && if [ -n "${GPU}" ]; then \
         .venv/bin/python -m pip install --no-cache-dir \
           "tensorflow[and-cuda]==$(.venv/bin/python -c 'from importlib.metadata import version; print(version("tensorflow"))')"; \
       fi

CMD ["make", "help"]
