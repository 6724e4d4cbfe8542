# Workers and exporter, as a user without rights. Everything comes from requirements.lock, hashes checked;
# of what the lock names, only what the wheel itself asks for gets into the image.
FROM python:3.13.5-slim-bookworm AS build
WORKDIR /source
COPY requirements.lock ./
RUN pip download --require-hashes --only-binary :all: --dest /wheels --requirement requirements.lock
RUN pip install --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY control control
COPY worker worker
COPY sql sql
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/tenantry \
 && pip --python /opt/tenantry/bin/python install --no-index --find-links /wheels tenantry

FROM python:3.13.5-slim-bookworm
COPY --from=build /opt/tenantry /opt/tenantry
ENV PATH=/opt/tenantry/bin:$PATH PYTHONUNBUFFERED=1
USER 65534:65534
WORKDIR /plan
ENTRYPOINT ["tenantry"]
CMD ["--help"]
