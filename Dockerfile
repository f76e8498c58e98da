# syntax=docker/dockerfile:1
#
#   docker build -t fitroom .                          for the CPU
#   docker build -t fitroom --build-arg TORCH=cuda .   for NVIDIA GPUs: docker run --gpus all ...
#   docker run -p 127.0.0.1:8000:8000 -v fitroom:/data fitroom

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# "cpu" takes torch and torchvision together from PyTorch's index of CPU builds (they must match each other);
# "cuda" takes the package index's own builds, which bring CUDA with them.
ARG TORCH=cpu
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/fitroom
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
RUN grep -E '^(torch|torchvision)==' constraints.txt > torch.txt \
    && if [ "$TORCH" = cpu ]; then pip install -r torch.txt --index-url "$TORCH_CPU_INDEX"; \
       else pip install -r torch.txt -c constraints.txt; fi
COPY pyproject.toml README.md alembic.ini ./
COPY app app
COPY fitroom fitroom
COPY trainer trainer
COPY templates templates
COPY static static
COPY migrations migrations
# The CPU builds of torch carry a local version ("+cpu"), which their own pins would refuse.
RUN grep -vE '^(torch|torchvision|triton|nvidia-|cuda-)' constraints.txt > pins.txt && pip install -c pins.txt -e .

FROM python:${PYTHON}-slim
RUN useradd --create-home --uid 1000 fitroom && install -d -o fitroom /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/fitroom /opt/fitroom
# The server must be reached from outside the container; publish the port to 127.0.0.1, as above.
ENV PATH=/opt/venv/bin:$PATH FITROOM_HOME=/data FITROOM_HOST=0.0.0.0 FITROOM_PORT=8000 PYTHONUNBUFFERED=1
WORKDIR /opt/fitroom
USER 1000
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['FITROOM_PORT'] + '/healthz', timeout=4)"]
# A token of one's own comes from outside; without one it is made at the start. It never stands in the image.
CMD ["sh", "-c", "fitroom data; export FITROOM_TOKEN=\"${FITROOM_TOKEN:-auto}\"; exec fitroom serve"]
