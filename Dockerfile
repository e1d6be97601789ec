# The server over a store in /data: docker build -t langbert . && docker run -p 8080:8080 -v langbert:/data -v ./keys.json:/keys.json:ro langbert
FROM python:3.12-slim
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY langbert langbert
COPY integrations integrations
RUN pip install --no-cache-dir --constraint constraints.txt torch==2.13.0 \
 && pip install --no-cache-dir --constraint constraints.txt ".[server]" \
 && useradd --create-home langbert && mkdir /data && chown langbert /data
USER langbert
# the two default models, checked against their SHA-256; the server then needs no network
RUN langbert models pull minilm smollm2-135m-instruct
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ready')"]
ENTRYPOINT ["langbert", "serve", "--store", "/data/store", "--host", "0.0.0.0", "--offline"]
CMD ["--api-key-file", "/keys.json"]
