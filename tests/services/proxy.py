"""Un relais TCP devant un vrai service, pour lui faire subir les pannes du réseau."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class Proxy:
    """Relaie ``127.0.0.1:port`` vers un service, le coupe ou se tait, et compte les connexions."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.accepted = 0
        self.silent = False
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close_connections(self, *, reset: bool = False) -> None:
        """Ferme les connexions ouvertes, poliment (FIN) ou non (RST) ; en accepte de nouvelles."""
        for item in self._sockets:
            with contextlib.suppress(OSError):
                if reset:
                    item.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    item.shutdown(socket.SHUT_RDWR)
            item.close()
        self._sockets.clear()

    def stop(self) -> None:
        """Refuse désormais toute connexion."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_connections()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(client)
            if not self.silent:
                server = socket.create_connection(self.target)
                self._sockets.append(server)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.silent:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
