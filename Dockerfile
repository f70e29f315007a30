# docker build -t dicomnode .
# docker run -d --name dicomnode --network host --stop-timeout 60 --ulimit core=0 --read-only --tmpfs /tmp \
#   -v /etc/dicomnode:/etc/dicomnode:ro -v dicomnode:/var/lib/dicomnode dicomnode
# /etc/dicomnode holds dicomnode.yaml; its storage.directory is /var/lib/dicomnode; the rules are in /opt/dicomnode/rules.

FROM python:3.12-slim-bookworm AS build
# --build-arg EXTRAS=pixels: decode compressed pixels, for destinations that take uncompressed ones alone.
ARG EXTRAS=
COPY . /source
RUN python -m venv /opt/dicomnode \
 && /opt/dicomnode/bin/pip install --no-cache-dir --disable-pip-version-check "/source${EXTRAS:+[$EXTRAS]}" \
 && cp -r /source/rules /opt/dicomnode/rules

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10104 --home-dir /var/lib/dicomnode --shell /usr/sbin/nologin dicomnode \
 && install -d -o dicomnode -g dicomnode -m 0700 /var/lib/dicomnode
COPY --from=build /opt/dicomnode /opt/dicomnode
ENV PATH=/opt/dicomnode/bin:$PATH PYTHONUNBUFFERED=1
USER dicomnode
WORKDIR /var/lib/dicomnode
VOLUME /var/lib/dicomnode
EXPOSE 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s CMD ["dicomnode", "check", "--running"]
CMD ["dicomnode", "serve"]
