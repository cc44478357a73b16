# The sidecar's image: see docs/image.md. Built from the lock files alone; `make image` does it with buildah or docker.
# Pin the base by its digest where you build for production: --build-arg BASE=…/python:3.11-slim-bookworm@sha256:…
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
# Two environments: one with pip that builds, and the one that goes into the image, which has none.
RUN python -m venv tools && python -m venv --without-pip /opt/turnout
COPY requirements.lock requirements-build.lock ./
RUN tools/bin/pip --disable-pip-version-check --python /opt/turnout/bin/python install --no-cache-dir --no-compile --only-binary :all: \
    --require-hashes -r requirements.lock \
  && tools/bin/pip --disable-pip-version-check install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY clients/python clients/python
RUN tools/bin/python -m hatchling build --target wheel --directory dist \
  && tools/bin/pip --disable-pip-version-check --python /opt/turnout/bin/python install --no-cache-dir --no-compile --no-deps --no-index dist/*.whl \
  # Nothing can be written at run time, so what is not compiled here is compiled at every start. Nothing changes either,
  # so no source is looked at again.
  && tools/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/turnout

FROM ${BASE}
# The official images ship Python's own library uncompiled; half of a start would go into that. And with pip: what
# installs packages has no place beside what runs.
RUN library=$(python -c "import sysconfig; print(sysconfig.get_path('stdlib'))") \
  && for folder in "$library" $(python -c "import site; print(*site.getsitepackages())"); do \
    rm -rf "$folder"/ensurepip "$folder"/pip "$folder"/pip-* "$folder"/setuptools "$folder"/setuptools-* \
      "$folder"/pkg_resources "$folder"/_distutils_hack "$folder"/distutils-precedence.pth "$folder"/wheel "$folder"/wheel-*; \
  done \
  && rm -f /usr/local/bin/pip* /usr/local/bin/wheel /usr/bin/pip* \
  && python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|pydoc_data|site-packages|dist-packages)/' "$library"
COPY --from=build /opt/turnout /opt/turnout
ENV PATH=/opt/turnout/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ARG VERSION=unknown
ARG REVISION=unknown
# buildah takes a kept layer for an equal LABEL whatever its arguments are, and would label the image as an older one; a
# RUN it keeps with them.
RUN : "${VERSION} ${REVISION}"
LABEL org.opencontainers.image.title="Turnout" \
      org.opencontainers.image.description="A gRPC sidecar that routes LLM requests" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No shell, no home and no writable folder are needed; 65532 is who "nonroot" is in images without a distribution.
USER 65532:65532
WORKDIR /
# gRPC, health, metrics. There is no HEALTHCHECK: Kubernetes ignores it and probes the health port itself, and starting
# another Python every few seconds to ask would cost more than the sidecar.
EXPOSE 50151 50152 9464
ENTRYPOINT ["/opt/turnout/bin/turnout"]
CMD ["serve"]
