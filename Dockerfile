# The image of every pod: head, CPU workers and GPU workers run the same Python and the same code, as Ray demands.
#
# No CUDA base image is needed: torch's ordinary Linux wheel brings its CUDA libraries with it, needs only the driver of
# the host (which the NVIDIA container runtime lends), and runs on a CPU as well. For a smaller image without CUDA,
# point pip at an index of CPU builds:  docker build --build-arg PIP_ARGS="--extra-index-url <index of CPU wheels>" .
ARG PYTHON_VERSION=3.11
FROM python:${PYTHON_VERSION}-slim-bookworm AS dependencies
ARG PIP_ARGS=""
# KubeRay's readiness probe of a worker is a bash line that calls wget.
RUN apt-get update \
    && apt-get install -y --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# Before the code, so that a change of the code does not install everything again.
# Not into a virtual environment: KubeRay starts Ray from a login shell, which forgets a PATH set here.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && pip install --no-cache-dir -r requirements.txt -c constraints.txt ${PIP_ARGS}

FROM dependencies AS service
# 1000 is the user of the pods in k8s/. The folder is where pictures, records and keys lie on one machine.
RUN useradd --uid 1000 --create-home darkroom \
    && mkdir -p /app/data \
    && chown 1000:1000 /app/data
COPY LICENSE serve_config.yaml ./
COPY models models
COPY serve_app serve_app
COPY deployments deployments
COPY darkroom darkroom
# Inside a container the loopback address reaches nobody: listen on every interface, and publish the port where you mean to.
RUN sed -i 's/host: 127\.0\.0\.1/host: 0.0.0.0/' serve_config.yaml && grep -q 'host: 0.0.0.0' serve_config.yaml
# The last three are for Serve's controller and proxies; deployments/local.py sets them too and says why.
ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=120 \
    RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS=1 \
    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy.guards
EXPOSE 8000
VOLUME /app/data
USER 1000:1000
# On one machine. KubeRay puts its own `ray start` in the place of this line, and takes the configuration from the RayService.
CMD ["serve", "run", "serve_config.yaml"]
