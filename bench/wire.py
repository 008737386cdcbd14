"""A client that costs next to nothing: it logs in with SCRAM, sends prepared bytes, and throws away what comes."""

import base64
import hashlib
import hmac
import os
import socket
import struct

READY = b"Z\0\0\0\x05"
RECEIVE_BYTES = 256 * 1024


class Refused(Exception):
    """The server sent an ErrorResponse."""


def message(tag, payload):
    return tag + struct.pack("!I", len(payload) + 4) + payload


def query(sql):
    return message(b"Q", sql.encode() + b"\0")


class Client:
    """One session over plain TCP."""

    def __init__(self, way):
        self.socket = socket.create_connection((way.host, way.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        pairs = f"user\0{way.user}\0database\0{way.database}\0\0".encode()
        self.socket.sendall(struct.pack("!II", len(pairs) + 8, 196608) + pairs)
        self._authenticate(way.password.encode())
        while self._receive()[0] != b"Z":
            pass

    def _receive(self):
        while True:
            if len(self.pending) >= 5:
                end = 1 + struct.unpack("!I", self.pending[1:5])[0]
                if len(self.pending) >= end:
                    tag, payload = self.pending[:1], self.pending[5:end]
                    self.pending = self.pending[end:]
                    if tag == b"E":
                        raise Refused(payload.replace(b"\0", b" ").decode(errors="replace"))
                    return tag, payload
            data = self.socket.recv(65536)
            if not data:
                raise Refused("the connection was closed")
            self.pending += data

    def _expect_authentication(self, kind):
        tag, payload = self._receive()
        if tag != b"R" or struct.unpack("!I", payload[:4])[0] != kind:
            raise Refused(f"authentication went another way: {payload!r}")
        return payload[4:]

    def _authenticate(self, password):
        """RFC 5802 and 7677, without channel binding."""
        self._expect_authentication(10)
        first = b"n=,r=" + base64.b64encode(os.urandom(18))
        initial = b"n,," + first
        self.socket.sendall(message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(initial)) + initial))
        challenge = self._expect_authentication(11)
        fields = dict(part.split(b"=", 1) for part in challenge.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        final = b"c=biws,r=" + fields[b"r"]
        signed = b",".join((first, challenge, final))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(key ^ sign for key, sign in zip(client_key, signature))
        self.socket.sendall(message(b"p", final + b",p=" + base64.b64encode(proof)))
        self._expect_authentication(12)
        self._expect_authentication(0)

    def send(self, data):
        self.socket.sendall(data)

    def drain(self):
        """Throws away everything up to ReadyForQuery at the end of what came; returns how many bytes that were."""
        buffer = bytearray(RECEIVE_BYTES)
        view = memoryview(buffer)
        total, tail = 0, b""
        while True:
            count = self.socket.recv_into(buffer)
            if count == 0:
                raise Refused("the connection was closed")
            total += count
            tail = (tail + bytes(view[max(0, count - 6):count]))[-6:]
            # A row could end like this; with the rows used here none does.
            if tail[:5] == READY and tail[5:] in (b"I", b"T", b"E"):
                if tail[5:] == b"E":
                    raise Refused("the transaction failed")
                return total

    def run(self, sql):
        """Runs a statement whose rows do not matter."""
        self.send(query(sql))
        while True:
            tag, _payload = self._receive()
            if tag == b"Z":
                return

    def close(self):
        try:
            self.socket.sendall(message(b"X", b""))
        except OSError:
            pass
        self.socket.close()
