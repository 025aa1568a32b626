# PYTHON_ARGCOMPLETE_OK
"""Serve a gallery over HTTP: embed, search, identify, add, name and forget images.

    python tools/serve.py --index people.index                         # prints the page's address
    python tools/serve.py --index people.index --name ft_ResNet50      # a new index
    python tools/serve.py --index people.index --tokens tokens.txt --audit audit.jsonl
    python tools/serve.py --index people.index --host 0.0.0.0 --certificate cert.pem --key key.pem
    python tools/serve.py --index people.index --retain 30d            # forget older images
    python tools/serve.py --index people.index --camera door=rtsp://10.0.0.7/main till=0

    curl -H "Authorization: Bearer $TOKEN" -F image=@someone.jpg "localhost:8000/v1/search?k=5"

Unless you pass --host, only programs on this machine reach the service, and every request needs a
token. Requests that arrive together are embedded in one batch. An added image is on disk before the
answer is sent. A page in the browser searches, names, merges and forgets. /v1/openapi.json
describes all operations; docs/service.md explains them.
"""

import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.serve import ServeConfig
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.gallery.gallery import file_at, growing_gallery
from person_reid.gallery.indexed_network import open_onnx_network

if TYPE_CHECKING:
    from person_reid.serve.cameras import LiveCameras
    from person_reid.serve.service import Service


BACKLOG = 64  # connections that wait to be accepted
LONGEST_END = 5  # seconds for requests in progress after SIGTERM; Docker kills after ten


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM, and complete the requests in progress."""
    config = parse(ServeConfig, argv, __doc__)
    try:
        import uvicorn
        from uvicorn.config import LOGGING_CONFIG

        from person_reid.serve.access import Access, new_token, read_tokens
        from person_reid.serve.app import create_app
        from person_reid.serve.server import Connection, Server
        from person_reid.serve.service import Service
        from person_reid.serve.usage import log_as_json
    except ModuleNotFoundError as error:
        raise reid.UserError(
            f'{error.name} is not installed: python -m pip install ".[serve]"'
        ) from None

    check_outputs(config, audit=[config.audit])
    check_outputs(config, index=[file_at(config.index)])
    tokens = read_tokens(config.tokens) if config.tokens else {new_token(): "forget"}
    with open_port(config.host, config.port) as listening:
        with growing_gallery(config.index) as index:
            open_network = reid.open_network if find_spec("torch") else open_onnx_network
            embedder = open_network(index, config)
            index.prepare()

            access = Access(tokens, config.per_minute)
            places = config.index, embedder, access, config
            service = Service(*places, config.batchsize, config.audit)
            cameras = open_cameras(service, index, config) if config.camera else None
        count = len(index)
        index.close()  # an open index would keep its log
        scheme = "https" if config.certificate else "http"
        host, port = listening.getsockname()[:2]
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"{config.index}: {count:,} images. Listening at {address}/v1")
        if config.tokens:
            print(f"In a browser: {address} (it asks for a token from {config.tokens})", flush=True)
        else:  # a browser does not send what follows #
            token = next(iter(tokens))
            print(f"In a browser: {address}/#token={token}")
            print(f"Token for all operations until the service ends: {token}", flush=True)

        if config.log_json:
            log_as_json()
        settings = uvicorn.Config(
            create_app(service, cameras),
            http=Connection,
            ws="none",
            root_path=config.root_path or "",
            limit_concurrency=1 + most_connections(config.connections),
            timeout_keep_alive=config.keep_alive,
            backlog=BACKLOG,
            log_config=None if config.log_json else LOGGING_CONFIG,
            log_level="warning",
            ssl_certfile=config.certificate,
            ssl_keyfile=config.key,
            proxy_headers=config.behind_proxy,
            server_header=False,
            timeout_graceful_shutdown=min(config.timeout, LONGEST_END),
        )
        Server(settings, service.end_streams).run(sockets=[listening])


def open_cameras(service: "Service", index: reid.Gallery, config: ServeConfig) -> "LiveCameras":
    """Open the cameras that the options name, and a detector.

    Raises UserError if they cannot work.
    """
    if not find_spec("torch"):
        raise reid.UserError("Live cameras need PyTorch: python -m pip install torch")
    from person_reid.serve.cameras import LiveCameras

    device = reid.select_device(config.gpu_ids)
    streams = reid.Streams(config.addresses, config.every)
    return LiveCameras(service, index, streams, reid.open_detector(config, device), config)


def most_connections(wanted: int) -> int:
    """Return the wanted number of connections, or fewer if the limit on open files is low."""
    if sys.platform == "win32":
        return wanted
    import resource

    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def open_port(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises UserError if the port cannot be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise reid.UserError(f"{host}:{port}: {error.strerror}. Another --port?") from None
    # Otherwise, an answer waits 40 milliseconds for the client to acknowledge its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


if __name__ == "__main__":
    run_script(main)
