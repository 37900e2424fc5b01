"""A TLS 1.3 client that makes its records itself after the handshake by Python's ssl: key updates, records of one byte."""

import ctypes
import ctypes.util
import hashlib
import hmac
import os
import ssl
import struct

from world import connect, path

crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
crypto.EVP_CIPHER_CTX_new.restype = crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p
crypto.EVP_CIPHER_CTX_free.argtypes = [ctypes.c_void_p]
crypto.EVP_EncryptInit_ex.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_char_p] * 2
crypto.EVP_EncryptUpdate.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int]
crypto.EVP_EncryptFinal_ex.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
crypto.EVP_CIPHER_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
GET_TAG = 0x10
APPLICATION_DATA, HANDSHAKE = 23, 22


def expand_label(secret, label, length):
    """HKDF-Expand-Label (RFC 8446 7.1) with SHA-384, of at most one block."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha384).digest()[:length]


class Records:
    """A connection with TLS_AES_256_GCM_SHA384 after its handshake."""

    def __init__(self, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.keylog_filename = path("keys")
        self.socket = connect(port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(outgoing.read())
                incoming.write(self.socket.recv(65536))
        self.socket.sendall(outgoing.read())
        assert session.cipher()[0] == "TLS_AES_256_GCM_SHA384", session.cipher()
        with open(path("keys"), encoding="ascii") as file:
            secrets = dict(line.split()[::2] for line in file if not line.startswith("#"))
        os.unlink(path("keys"))
        self.secret = bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"])
        self.context = None
        self.take_keys()

    def take_keys(self):
        crypto.EVP_CIPHER_CTX_free(self.context)
        self.iv, self.sequence = int.from_bytes(expand_label(self.secret, b"iv", 12), "big"), 0
        self.context = crypto.EVP_CIPHER_CTX_new()
        crypto.EVP_EncryptInit_ex(self.context, crypto.EVP_aes_256_gcm(), None, expand_label(self.secret, b"key", 32), None)

    def record(self, kind, content):
        inner = content + bytes([kind])
        header = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (self.iv ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        length, sealed, tag = ctypes.c_int(), ctypes.create_string_buffer(len(inner)), ctypes.create_string_buffer(16)
        crypto.EVP_EncryptInit_ex(self.context, None, None, None, nonce)
        crypto.EVP_EncryptUpdate(self.context, None, ctypes.byref(length), header, len(header))
        crypto.EVP_EncryptUpdate(self.context, sealed, ctypes.byref(length), inner, len(inner))
        crypto.EVP_EncryptFinal_ex(self.context, None, ctypes.byref(length))
        crypto.EVP_CIPHER_CTX_ctrl(self.context, GET_TAG, 16, tag)
        return header + sealed.raw + tag.raw

    def data(self, content):
        return self.record(APPLICATION_DATA, content)

    def key_update(self):
        """Returns a KeyUpdate that requests none in return, and switches to the next keys (RFC 8446 4.6.3)."""
        record = self.record(HANDSHAKE, b"\x18\0\0\1\0")
        self.secret = expand_label(self.secret, b"traffic upd", 48)
        self.take_keys()
        return record

    def send(self, records):
        """Sends until all is sent or the peer takes no more, then waits for the end of the connection."""
        try:
            self.socket.sendall(records)
            while self.socket.recv(65536):
                pass
        except OSError:
            pass
        self.socket.close()
