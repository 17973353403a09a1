# One image for the four processes; the command says which:
#   python -m gateway (default) | python -m content_service | python -m enhancer_service | python -m offline_model
# Everything that is installed is in a lock file with its hash; production pins the base by digest:
#   --build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
# The model client trusts the system's certificate authorities: a base without them would fail at the first call.
RUN test -s /etc/ssl/certs/ca-certificates.crt
WORKDIR /build
# pip and the build backend live in /tools and stay behind; the image's own environment holds neither.
COPY requirements.lock requirements-dev.lock ./
RUN awk '/^[^ ]/ { wanted = /^setuptools==/ } wanted' requirements-dev.lock > build.lock \
 && python3 -m venv /tools \
 && /tools/bin/pip install --require-hashes -r build.lock
RUN python3 -m venv --without-pip /opt/nidan \
 && /tools/bin/pip --python /opt/nidan/bin/python install --require-hashes -r requirements.lock
# .dockerignore lets through what the package is made of, and nothing else.
COPY . .
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /tools/bin/pip --python /opt/nidan/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="nidan" \
      org.opencontainers.image.description="A Can-do becomes a whole Japanese lesson in two stages." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# No RUN in this stage: what a build lends to its commands, such as a pip.conf, leaves no trace here.
COPY --from=builder /opt/nidan /opt/nidan
ENV PATH="/opt/nidan/bin:${PATH}" \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1
WORKDIR /opt/nidan
USER 10001:10001
# The health port of the default process; whoever runs another one asks another port (docker-compose.yml does).
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-m", "servicekit.probe", "50060"]
CMD ["python", "-m", "gateway"]
